//! The command line: what was typed becomes one value here; each command has a file of its own that acts on it.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 yes, 1 the answer is no, 2 wrong use, 3 cell not reached,
//! 4 Muster's fault; see `Exit`.

mod apply;
mod audit;
mod bridge;
mod check;
mod client;
mod client_token;
mod clp;
mod cluster;
mod config;
mod demo;
mod explain;
mod fence;
mod follow;
mod generate;
mod group;
mod hidden;
mod import;
mod init;
mod join;
mod listed_token;
mod monitor;
mod node;
mod plugin_cfg;
mod rehearse;
mod router;
mod run;
mod secret;
mod status;
mod table;
mod time;
mod token;
mod top;
mod user;

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  muster demo                        a whole cell on this machine, to try it out
  muster check && muster run         this node's part of the cell of ./muster.toml
  muster apply new.toml              change the running cell in place
  muster status --watch              see it live; muster top has the busiest first
  muster explain http://shop/cart    who would get this request, and why

Exit codes: 0 yes, 1 the answer is no, 2 wrong use, 3 the cell was not reached, 4 Muster's fault.";

/// Several servers act as one.
#[derive(Debug, Parser)]
#[command(name = "muster", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a running cluster on this machine, with console; needs nothing else
    Demo(demo::Args),
    /// Run this node's part of a cell: manager, agent, router
    Run(run::Args),
    /// Make the cell's certificate authority, on the machine of its manager
    Init(init::Args),
    /// Make this machine a node of a cell, with a token of `muster node token`
    Join(join::Args),
    /// Say whether a configuration file is right, and what is wrong with it
    Check(check::Args),
    /// Say what the loss of each node, link, manager and member would do
    Rehearse(rehearse::Args),
    /// Change a running cell to a new configuration, in place
    Apply(apply::Args),
    /// Show the history of the configuration, compare, and go back
    Config(config::Args),
    /// Show nodes, routers, clusters and members
    Status(status::Args),
    /// Watch routers, routes and members live, the busiest first
    Top(top::Args),
    /// Say which route, cluster and member a request would go to, and why
    Explain(explain::Args),
    /// Start, stop, drain or restart a cluster or one of its members
    Cluster(cluster::Args),
    /// Show failover groups and say why they are where they are; start, stop and move them
    Group(group::Args),
    /// Show what could switch nodes off, try it, and do it
    Fence(fence::Args),
    /// Show how monitored services are; pause monitors, or let one fail as a drill
    Monitor(monitor::Args),
    /// Show the nodes of the cell, let machines in and cut them off
    Node(node::Args),
    /// Add and remove users of the API and the console, and give them roles
    User(user::Args),
    /// Make and revoke tokens for programs that use the API
    Token(token::Args),
    /// Show who changed or tried to change what
    Audit(audit::Args),
    /// Make the token of a program that may know members and learns of changes
    Client(client_token::Args),
    /// Make the token with which another cell hears of this one
    Bridge(bridge::Args),
    /// Serve from a plugin-cfg.xml alone, or put a new binary in a router's place
    Router(router::Args),
    /// Judge, merge, compare, explain and write files of the WebSphere plug-in
    PluginCfg(plugin_cfg::Args),
    /// Print the JSON schema of the configuration
    Schema(generate::SchemaArgs),
    /// Print the reference page of the configuration, as Markdown
    #[command(hide = true)]
    Reference(generate::ReferenceArgs),
    /// Print shell completions
    Completions(generate::CompletionsArgs),
    /// Print the manual page
    Man(generate::ManArgs),
    /// A small application to try a cluster with
    SampleApp(crate::sample_app::Args),
    /// The commands of ExpressCluster: clp_httpmon, clpgrp, clpstat and others
    Clp(clp::Args),
    /// Make a configuration from that of another product
    Import(import::Args),
    /// Make links by which scripts find the commands of ExpressCluster
    InstallNames(clp::names::Args),
    /// Run a node's agent alone
    #[command(hide = true)]
    Agent(hidden::AgentArgs),
    #[command(flatten)]
    Own(hidden::Own),
}

/// How a command ends; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Yes = 0,
    No = 1,
    WrongUse = 2,
    CellNotReached = 3,
    OurFault = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A list for people, or all of it as JSON; where it is empty, people are told why.
fn listed<T: serde::Serialize>(
    items: &[T],
    is_json: bool,
    none: &str,
    table: impl FnOnce() -> String,
) -> String {
    if is_json {
        return serde_json::to_string_pretty(items).expect("lists have only names as keys") + "\n";
    }
    if items.is_empty() {
        eprintln!("{none}");
        return String::new();
    }
    table()
}

/// Writes data to standard output. A reader that goes away early, like `head`, is no mistake.
fn print(data: &[u8]) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Ok(()) => Exit::Yes,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Yes,
        Err(error) => {
            eprintln!("could not write to standard output: {error}");
            Exit::OurFault
        }
    }
}

pub fn main() -> ExitCode {
    if let Some(exit) = clp::under_other_name() {
        return exit.into();
    }
    if let Some(own) = hidden::own() {
        return own.run().into();
    }
    let exit = match CommandLine::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(args),
        Command::Init(args) => init::run(args),
        Command::Join(args) => join::run(args),
        Command::Check(args) => check::run(args),
        Command::Rehearse(args) => rehearse::run(args),
        Command::Apply(args) => apply::run(args),
        Command::Config(args) => config::run(args),
        Command::Status(args) => status::run(args),
        Command::Top(args) => top::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Group(args) => group::run(args),
        Command::Fence(args) => fence::run(args),
        Command::Monitor(args) => monitor::run(args),
        Command::Node(args) => node::run(args),
        Command::User(args) => user::run(args),
        Command::Token(args) => token::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Client(args) => client_token::run(args),
        Command::Bridge(args) => bridge::run(args),
        Command::Router(args) => router::run(args),
        Command::PluginCfg(args) => plugin_cfg::run(args),
        Command::Schema(args) => generate::schema(args),
        Command::Reference(args) => generate::reference(args),
        Command::Completions(args) => generate::completions(args),
        Command::Man(args) => generate::man(args),
        Command::SampleApp(args) => crate::sample_app::run(args),
        Command::Clp(args) => clp::run(args),
        Command::Import(args) => import::run(&args),
        Command::InstallNames(args) => clp::names::run(&args),
        Command::Agent(args) => hidden::agent(args),
        Command::Own(own) => own.run(),
    };
    crate::logging::finish();
    exit.into()
}

#[cfg(test)]
mod tests;
