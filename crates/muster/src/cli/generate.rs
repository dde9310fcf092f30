//! Placeholder until its first commit.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct SchemaArgs {}

pub fn schema(_args: SchemaArgs) -> Exit {
    Exit::OurFault
}

#[derive(Debug, clap::Args)]
pub struct ReferenceArgs {}

pub fn reference(_args: ReferenceArgs) -> Exit {
    Exit::OurFault
}

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {}

pub fn completions(_args: CompletionsArgs) -> Exit {
    Exit::OurFault
}

#[derive(Debug, clap::Args)]
pub struct ManArgs {}

pub fn man(_args: ManArgs) -> Exit {
    Exit::OurFault
}
