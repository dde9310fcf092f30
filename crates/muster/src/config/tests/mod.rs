//! Stories about files: right ones and what they mean, wrong ones and what is said about them.

mod definitions;
mod documents;
mod environment;
mod generated;
mod right;
mod wrong;

use super::{Problems, parse_with};
use wire::settings::CellSettings;

fn parse(text: &str) -> Result<CellSettings, Problems> {
    parse_with(text, "muster.toml", Some("/state".to_owned()))
}

fn settings(text: &str) -> CellSettings {
    parse(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"))
}
