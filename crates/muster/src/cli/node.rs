//! Placeholder until its first commit.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> Exit {
    Exit::OurFault
}
