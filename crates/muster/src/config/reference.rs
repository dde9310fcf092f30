//! The reference page of the configuration, as Markdown, made from the definitions. A test holds the committed page.

use super::definition::Section;
use super::definitions::SECTIONS;
use std::fmt::Write as _;

/// A file that uses every table, checked by a test like any user's file.
pub const EXAMPLE: &str = include_str!("example.toml");

const INTRODUCTION: &str = "\
# Configuration

<!-- Made by `muster reference`. Do not change by hand. -->

One TOML file describes the whole cell and is the same on all its nodes. Without `--config`, Muster reads
`./muster.toml` and then `/etc/muster/muster.toml`.

- `muster check` says whether a file is right, and what is wrong with it. `muster apply` changes a running cell to it.
- `muster schema` prints a JSON schema with which editors complete and check keys.
- Unknown keys are errors. Durations are whole milliseconds (`_ms`), sizes whole bytes (`_bytes`).
- Names of nodes, routers, clusters and members are yours: 1 to 64 letters, digits, `.`, `_` and `-`. A name with `.`
  in it stands in quotes in headers.

## The smallest file

```toml
[routers.front]
listen = [\"0.0.0.0:8080\"]

[clusters.shop.members.one]
address = \"10.0.0.5:8080\"
```

## A file with everything

";

/// The whole page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    write!(page, "```toml\n{}```\n", EXAMPLE).expect("writing to a String cannot fail");
    for section in SECTIONS.iter().filter(|section| !section.path.is_empty()) {
        describe(section, &mut page).expect("writing to a String cannot fail");
    }
    page
}

fn describe(section: &Section, page: &mut String) -> std::fmt::Result {
    write!(page, "\n## `{}`\n\n{}\n", section.header(), section.doc)?;
    if section.definitions().next().is_none() {
        return Ok(());
    }
    let inherits = section.path.starts_with("clusters.*.defaults");
    page.push_str("\n| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
    for definition in section.definitions() {
        writeln!(
            page,
            "| `{}` | {} | {} | {} Example: `{} = {}` |",
            definition.name,
            cell(&definition.preset.describe()),
            cell(&definition.kind.allowed()),
            cell(definition.doc),
            definition.name,
            cell(definition.example),
        )?;
    }
    if inherits {
        page.push_str(
            "\nThe defaults are those of members, so a key here only matters where it is written.\n",
        );
    }
    Ok(())
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
