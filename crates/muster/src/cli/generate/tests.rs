//! Completions and manual pages are made for every command.

use super::{ManArgs, completion_script, man, page_of, public};
use crate::cli::{CommandLine, Exit};
use clap::CommandFactory as _;

#[test]
fn the_command_line_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn every_command_has_a_manual_page() {
    let page_about = |words: &[&str]| {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        man(ManArgs { command })
    };
    assert_eq!(page_about(&[]), Exit::Yes);
    for command in public().get_subcommands() {
        assert_eq!(page_about(&[command.get_name()]), Exit::Yes);
        for below in command.get_subcommands() {
            assert_eq!(page_about(&[command.get_name(), below.get_name()]), Exit::Yes);
        }
    }
    assert_eq!(page_about(&["no-such-command"]), Exit::WrongUse);
    assert_eq!(page_about(&["keeper"]), Exit::WrongUse);
}

#[test]
fn a_manual_page_is_headed_by_the_whole_command() {
    let mut whole = public();
    whole.build();
    let router = whole.find_subcommand("router").expect("there is such a command").clone();
    let page = String::from_utf8(page_of(router).expect("memory takes any page")).expect("the page is text");
    let heading = format!(".TH muster-router 1  \"Muster {}\" Muster", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&heading), "{page}");
}

#[test]
fn completions_leave_out_what_people_have_no_use_for() {
    let script =
        String::from_utf8(completion_script(clap_complete::Shell::Bash)).expect("the script is text");
    assert!(script.contains("plugin__cfg") || script.contains("plugin-cfg"), "{script}");
    for hidden in CommandLine::command().get_subcommands().filter(|command| command.is_hide_set()) {
        // `agent` is a role, too: only the function of a command counts.
        let function = format!("muster__{}", hidden.get_name().replace('-', "__"));
        assert!(!script.contains(&function), "{function}");
    }
}
