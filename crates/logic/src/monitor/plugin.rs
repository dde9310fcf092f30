//! Reads what a monitoring plugin says: its exit status, the text of its first line, and the figures after `|`.
//!
//! `text | 'label'=value[unit];warn;crit;min;max ...`, as the guidelines of the monitoring plugins have it. Figures that do not
//! parse are left out: the state is what counts.

use super::Answer;
use super::line::readable;
use crate::limits::FIGURES_MAX;
use wire::monitor::{Figure, Manner};

/// What a program's end means. `status`: None if a signal ended it.
pub fn judge(manner: Manner, status: Option<i32>, output: &[u8]) -> Answer {
    let first = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = readable(first);
    let (text, figures) = match manner {
        Manner::Plugin => {
            let (text, rest) = first.split_once('|').unwrap_or((&first, ""));
            (text.trim().to_owned(), figures(rest))
        }
        Manner::Custom => (first, Vec::new()),
    };
    let why = |otherwise: String| if text.is_empty() { otherwise } else { text.clone() };
    match (manner, status) {
        (_, None) => Answer::bad("its program was ended by a signal"),
        (_, Some(0)) => Answer::Good { warning: None, figures },
        (Manner::Plugin, Some(1)) => {
            Answer::Good { warning: Some(why("its plugin warns (status 1)".into())), figures }
        }
        (Manner::Plugin, Some(2)) => {
            Answer::Bad { why: why("its plugin says that it is critical (status 2)".into()) }
        }
        // Unknown by its own words, wrong use among it: that tells nothing about the service.
        (Manner::Plugin, Some(status)) => {
            Answer::Unasked { why: why(format!("its plugin does not know (status {status})")) }
        }
        (Manner::Custom, Some(status)) => {
            Answer::Bad { why: why(format!("its program ended with status {status}")) }
        }
    }
}

fn figures(text: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && figures.len() < FIGURES_MAX {
        let Some((label, after)) = label(rest) else { break };
        let (value, left) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        rest = left.trim_start();
        figures.extend(figure(label, value));
    }
    figures
}

/// A label, which may be in quotes, and what follows its `=`.
fn label(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('\'') {
        Some(quoted) => {
            let (label, after) = quoted.split_once('\'')?;
            Some((label, after.strip_prefix('=')?))
        }
        None => text.split_once('='),
    }
}

fn figure(label: &str, value: &str) -> Option<Figure> {
    let value = value.split(';').next()?;
    let is_number = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-' | '+' | 'e' | 'E');
    let end = value.find(|letter| !is_number(letter)).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let number: f64 = number.parse().ok()?;
    let (factor, unit) = match unit {
        "ms" => (1e-3, "s"),
        "us" => (1e-6, "s"),
        "KB" => (1024.0, "B"),
        "MB" => (1024.0 * 1024.0, "B"),
        "GB" => (1024.0 * 1024.0 * 1024.0, "B"),
        "TB" => (1024.0 * 1024.0 * 1024.0 * 1024.0, "B"),
        "s" | "B" | "%" | "c" | "" => (1.0, unit),
        _ => return None,
    };
    let label = label.trim();
    let is_shown = !label.is_empty() && number.is_finite();
    is_shown.then(|| Figure { label: label.to_owned(), value: number * factor, unit: unit.to_owned() })
}

#[cfg(test)]
mod tests;
