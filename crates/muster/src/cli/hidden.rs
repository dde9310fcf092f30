//! Commands that Muster gives to itself; people have no use for them.

use super::Exit;
use crate::agent::keeper::{MemberExec, UserNumbers, become_member, keep};
use std::path::PathBuf;

/// Orders come on stdin, see `agent::keeper::message`.
#[derive(Debug, clap::Args)]
pub struct KeeperArgs {}

pub fn keeper(KeeperArgs {}: KeeperArgs) -> Exit {
    keep()
}

#[derive(Debug, clap::Args)]
pub struct MemberExecArgs {
    /// Process that this one must belong to
    #[arg(long)]
    keeper: i32,
    #[arg(long)]
    cgroup: Option<PathBuf>,
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
    /// Supplementary group; may be repeated
    #[arg(long = "group")]
    groups: Vec<u32>,
    #[arg(long)]
    directory: Option<PathBuf>,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub fn member_exec(args: MemberExecArgs) -> Exit {
    let numbers = args.uid.zip(args.gid);
    become_member(MemberExec {
        keeper_pid: args.keeper,
        cgroup: args.cgroup,
        user: numbers.map(|(uid, gid)| UserNumbers { uid, gid, groups: args.groups }),
        directory: args.directory,
        command: args.command,
    });
    Exit::OurFault
}
