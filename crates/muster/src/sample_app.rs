//! Placeholder until its first commit.

use crate::cli::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> Exit {
    Exit::OurFault
}
