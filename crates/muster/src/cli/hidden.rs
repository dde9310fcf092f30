//! Placeholder until its first commit.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct KeeperArgs {}

pub fn keeper(_args: KeeperArgs) -> Exit {
    Exit::OurFault
}

#[derive(Debug, clap::Args)]
pub struct MemberExecArgs {}

pub fn member_exec(_args: MemberExecArgs) -> Exit {
    Exit::OurFault
}
