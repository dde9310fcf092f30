//! Which role a command needs: the table in docs/operate/users.md has each command once.

use super::CommandLine;
use clap::{Command, CommandFactory};
use std::collections::BTreeSet;

/// Every command that does something, as it is typed.
fn commands(command: &Command, before: &str, found: &mut BTreeSet<String>) {
    let name = format!("{before}{}", command.get_name());
    // Some do something also without the word that would follow.
    if !command.has_subcommands() || command.is_args_conflicts_with_subcommands_set() {
        found.insert(name.clone());
    }
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for inner in command.get_subcommands().filter(shown) {
        commands(inner, &format!("{name} "), found);
    }
}

#[test]
fn the_guide_has_the_least_role_of_every_command() {
    let mut found = BTreeSet::new();
    commands(&CommandLine::command(), "", &mut found);
    let page = include_str!("../../../../docs/operate/users.md");
    let (_, table) = page.split_once("| command | least role |").expect("the page has the table");
    let rows = table.lines().skip(2).filter(|line| line.starts_with('|'));
    let mut told = BTreeSet::new();
    for row in rows {
        let [_, names, role, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let is_role =
            ["viewer", "operator", "admin", "none"].iter().any(|known| role.trim().starts_with(known));
        assert!(is_role, "{row}");
        for name in names.split('`').skip(1).step_by(2) {
            assert!(told.insert(name.to_owned()), "{name} is there twice");
        }
    }
    assert_eq!(told, found);
}
