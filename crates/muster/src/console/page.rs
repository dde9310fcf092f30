//! The console's pages as the server writes them; scripts in `assets` bring them to life.
//!
//! The first page carries the status of that moment, so that it shows everything at once and before any script.

use super::answer::{self, Answer};
use super::auth::Caller;
use hyper::StatusCode;
use std::fmt::Write;
use wire::status::CellStatus;

const HTML: &str = "text/html; charset=utf-8";
const CONSOLE: &str = include_str!("assets/console.html");
const LOGIN: &str = include_str!("assets/login.html");

/// The login page, the same for everybody.
pub fn login() -> Answer {
    answer::text(StatusCode::OK, HTML, LOGIN)
}

/// The first page, with the status of now, for somebody who may see it.
pub fn console(status: &CellStatus, caller: &Caller) -> Answer {
    let json = serde_json::to_string(status).expect("a status has only names as keys");
    // Within a script element only `<` could end the data early, and JSON has another way to write it.
    let json = json.replace('<', "\\u003c");
    let parts = [
        ("{{cell}}", escape(&status.cell)),
        ("{{version}}", escape(&status.version)),
        ("{{who}}", escape(&caller.principal.to_string())),
        ("{{role}}", caller.role.to_string()),
        ("{{members}}", members_table(status)),
        ("{{status}}", json),
    ];
    answer::text(StatusCode::OK, HTML, fill(CONSOLE, &parts))
}

/// Puts values in their places, in one pass: a value that looks like a place is left as it is.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut page = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let (before, place) = rest.split_at(start);
        page.push_str(before);
        let part = parts.iter().find(|(name, _)| place.starts_with(name));
        let (name, value) = part.expect("every place in our own template has a value; a test fills them all");
        page.push_str(value);
        rest = &place[name.len()..];
    }
    page + rest
}

/// For readers without script: what is known now of members and groups, as a plain table.
fn members_table(status: &CellStatus) -> String {
    let mut rows = String::new();
    for cluster in &status.clusters {
        for member in &cluster.members {
            let cells = [
                format!("{}/{}", cluster.cluster, member.member),
                member.state.to_string(),
                member.weight.to_string(),
                format!("{:.1}", member.requests_per_second),
                member.reason.clone(),
            ];
            let cells = cells.map(|cell| format!("<td>{}</td>", escape(&cell)));
            writeln!(rows, "<tr>{}</tr>", cells.concat()).expect("a string takes any text");
        }
    }
    for group in &status.groups {
        let place = group.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let cells = [
            format!("group {}{place}", group.group),
            group.state.to_string(),
            "–".to_owned(),
            "–".to_owned(),
            group.reason.clone(),
        ];
        let cells = cells.map(|cell| format!("<td>{}</td>", escape(&cell)));
        writeln!(rows, "<tr>{}</tr>", cells.concat()).expect("a string takes any text");
    }
    rows
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
