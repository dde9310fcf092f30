//! The configurations that were: reads them, and says whether one of them may be in force again.
//!
//! Not here: making it so, which goes the way of any configuration (see `Request::Apply`).

use super::archive;
use super::enrol::Office;
use super::fenced::FencedStore;
use super::shell::refusal;
use crate::config;
use wire::error_code::{self, ErrorCode};
use wire::id::NodeName;
use wire::status::{ConfigText, ErrorBody};

/// The text of a revision of the history.
pub async fn read(store: &FencedStore, revision: u64) -> Result<ConfigText, ErrorBody> {
    match archive::read_config(store, revision).await {
        Ok(Some(text)) => Ok(ConfigText { revision, text }),
        Ok(None) => {
            let message = format!(
                "the history has no configuration {revision}; `muster config log` shows which there are"
            );
            Err(refused(error_code::NO_SUCH_REVISION, message))
        }
        Err(error) => Err(refusal(&error)),
    }
}

/// The same of one that shall be in force again, where now these `nodes` are. Refused if the text is no longer right, or
/// would bring back a node whose machine was removed from the cell: its members would wait for a machine that is gone.
pub async fn read_to_return(
    store: &FencedStore,
    revision: u64,
    nodes: &[NodeName],
    office: Option<&Office>,
) -> Result<String, ErrorBody> {
    let text = read(store, revision).await?.text;
    let settings = config::parse(&text, &format!("configuration {revision}")).map_err(|problems| {
        let code = problems.list.first().map_or(error_code::CONFIG_NOT_ALLOWED, |first| first.code);
        refused(code, format!("configuration {revision} is not right any more: {problems}"))
    })?;
    let is_gone =
        |node: &&NodeName| !nodes.contains(node) && office.is_some_and(|office| office.is_removed(node));
    match settings.nodes.iter().find(is_gone) {
        None => Ok(text),
        Some(node) => {
            let message = format!(
                "configuration {revision} has node {node}, whose machine was removed from the cell. \
                 `muster config show {revision} > old.toml` gives a text to take it out of, and \
                 `muster apply old.toml` then does the rest"
            );
            Err(refused(error_code::ACT_MAKES_NO_SENSE, message))
        }
    }
}

fn refused(code: ErrorCode, message: String) -> ErrorBody {
    ErrorBody { code: code.to_string(), message, retry: false }
}

#[cfg(test)]
mod tests;
