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
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "muster", &mut script);
    print(&script)
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster man > /usr/local/share/man/man1/muster.1\n  \
    muster man check > /usr/local/share/man/man1/muster-check.1")]
pub struct ManArgs {
    /// The command that the page is about [default: muster itself]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub fn man(args: ManArgs) -> Exit {
    let mut whole = CommandLine::command();
    whole.build();
    let page_of = match &args.command {
        None => whole,
        Some(name) => match whole.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                eprintln!("there is no command `{name}`; see muster --help");
                return Exit::WrongUse;
            }
        },
    };
    let mut page = Vec::new();
    match clap_mangen::Man::new(page_of).render(&mut page) {
        Ok(()) => print(&page),
        Err(error) => {
            eprintln!("the manual page could not be made: {error}");
            Exit::OurFault
        }
    }
}

#[cfg(test)]
mod tests;
