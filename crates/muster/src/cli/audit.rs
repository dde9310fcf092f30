//! `muster audit`: who changed or tried to change what.

use super::client::{Api, Target, fail, run as run_until_done};
use super::table::{self, Paint};
use super::time::{time_ms, utc};
use super::{Exit, print};
use wire::account::{AuditEntry, AuditResult};

const EXAMPLES: &str = "\
Examples:
  muster audit --since 2h
  muster audit --most 6000 --json | jq -r '.[] | select(.result != \"done\") | .from' | sort | uniq -c

Kept are the last 5,000 entries of people, programs and machines that are known, and 1,000 of those who are not.

Exit codes:
  0  told
  2  wrong use, or the role does not allow it
  3  the cell was not reached
  4  Muster's fault";

/// Ten years.
const SINCE_DAYS_MAX: u64 = 3_650;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only what was since so long ago: a number with s, m, h or d
    #[arg(long, value_name = "TIME", value_parser = since_ms)]
    since: Option<u64>,
    /// How many entries at most, the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=6_000))]
    most: u64,
    /// Print a JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

fn since_ms(text: &str) -> Result<u64, String> {
    time_ms(text, SINCE_DAYS_MAX)
}

pub fn run(args: Args) -> Exit {
    let now_ms = crate::identity::now_us() / 1_000;
    let since = args.since.map_or(String::new(), |ms| format!("&since_ms={}", now_ms.saturating_sub(ms)));
    let path = format!("/api/v1/audit?most={}{since}", args.most);
    let asking = async { Api::find(&args.target)?.get::<Vec<AuditEntry>>(&path).await };
    let entries = match run_until_done(asking) {
        Ok(entries) => entries,
        Err(error) => return fail(&error, args.json),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&entries).expect("entries have only names as keys") + "\n"
    } else {
        show(&entries, Paint::of_stdout())
    };
    print(text.as_bytes())
}

fn show(entries: &[AuditEntry], paint: Paint) -> String {
    use table::{Side, Style, cell, one_line, styled};
    let heads = ["WHEN (UTC)", "WHO", "WHAT", "ON", "RESULT", "FROM"].map(|head| (head, Side::Left));
    let row = |entry: &AuditEntry| {
        let code = entry.code.as_ref().map_or(String::new(), |code| format!(" {code}"));
        let more = match entry.left_out {
            0 => String::new(),
            more => format!(", and {more} before it"),
        };
        let style = match entry.result {
            AuditResult::Done => Style::Plain,
            AuditResult::Refused => Style::Careful,
            AuditResult::Failed => Style::Bad,
        };
        let on = if entry.on.is_empty() { "-" } else { &entry.on };
        vec![
            cell(utc(entry.at_ms)),
            cell(one_line(&entry.who)),
            cell(one_line(&entry.act)),
            cell(one_line(on)),
            styled(one_line(&format!("{}{code}{more}", entry.result)), style),
            cell(one_line(&format!("{} ({})", entry.from, entry.way))),
        ]
    };
    let rows: Vec<Vec<_>> = entries.iter().map(row).collect();
    table::table(paint, 0, &heads, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_that_steers_no_terminal() {
        let entry = AuditEntry {
            at_ms: 0,
            who: "token ci\u{1b}[2J".into(),
            way: "cell".into(),
            from: [10, 0, 0, 2].into(),
            act: "config-apply".into(),
            on: String::new(),
            result: AuditResult::Refused,
            code: Some("M2060".into()),
            left_out: 7,
        };
        let text = show(&[entry], Paint::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for part in
            ["1970-01-01 00:00:00", "config-apply", "refused M2060, and 7 before it", "10.0.0.2 (cell)"]
        {
            assert!(lines[1].contains(part), "{part} is not in {text}");
        }
    }
}
