//! Completions and manual pages are made for every command.

use super::{ManArgs, man};
use crate::cli::{CommandLine, Exit};
use clap::CommandFactory as _;

#[test]
fn the_command_line_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn every_command_has_a_manual_page() {
    assert_eq!(man(ManArgs { command: None }), Exit::Yes);
    for command in CommandLine::command().get_subcommands() {
        assert_eq!(man(ManArgs { command: Some(command.get_name().to_owned()) }), Exit::Yes);
    }
    assert_eq!(man(ManArgs { command: Some("no-such-command".to_owned()) }), Exit::WrongUse);
}
