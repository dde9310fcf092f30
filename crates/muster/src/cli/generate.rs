//! Prints what is made from definitions: JSON schema, reference page, shell completions, manual pages.

use super::{CommandLine, Exit, print};
use crate::config;
use clap::CommandFactory as _;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  muster schema > muster.schema.json\n  \
    Then let the editor's TOML support use it for muster.toml.")]
pub struct SchemaArgs {}

pub fn schema(_args: SchemaArgs) -> Exit {
    print(format!("{:#}\n", config::schema::schema()).as_bytes())
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  muster reference > docs/reference/configuration.md")]
pub struct ReferenceArgs {}

pub fn reference(_args: ReferenceArgs) -> Exit {
    print(config::reference::page().as_bytes())
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster completions bash > /etc/bash_completion.d/muster\n  \
    muster completions zsh > \"${fpath[1]}/_muster\"\n  \
    muster completions fish > ~/.config/fish/completions/muster.fish")]
pub struct CompletionsArgs {
    shell: clap_complete::Shell,
}

pub fn completions(args: CompletionsArgs) -> Exit {
    print(&completion_script(args.shell))
}

fn completion_script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut public(), "muster", &mut script);
    script
}

/// The command line without what Muster calls for itself.
fn public() -> clap::Command {
    let whole = CommandLine::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let about = whole.get_about().cloned().expect("the command line has a sentence about itself");
    let after_help = whole.get_after_help().cloned().expect("the command line has examples");
    clap::Command::new("muster")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .arg_required_else_help(true)
        .about(about)
        .after_help(after_help)
        .subcommands(shown.collect::<Vec<_>>())
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster man > /usr/local/share/man/man1/muster.1\n  \
    muster man check > /usr/local/share/man/man1/muster-check.1\n  \
    muster man router run > /usr/local/share/man/man1/muster-router-run.1")]
pub struct ManArgs {
    /// The command that the page is about, in one word or two [default: muster itself]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

pub fn man(args: ManArgs) -> Exit {
    let mut whole = public();
    whole.build();
    let found = args.command.iter().try_fold(whole, |command, word| command.find_subcommand(word).cloned());
    let Some(command) = found else {
        eprintln!("there is no command `{}`; see muster --help", args.command.join(" "));
        return Exit::WrongUse;
    };
    match page_of(command) {
        Ok(page) => print(&page),
        Err(error) => {
            eprintln!("the manual page could not be made: {error}");
            Exit::OurFault
        }
    }
}

fn page_of(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .source(concat!("Muster ", env!("CARGO_PKG_VERSION")))
        .manual("Muster")
        .render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests;
