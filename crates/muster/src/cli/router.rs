//! `muster router`: what concerns the routers of this machine, without the rest of the cell.

mod upgrade;

use super::Exit;

#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Put a new process of the program in the place of the one that runs, without a refused connection
    Upgrade(upgrade::Args),
}

pub fn run(args: Args) -> Exit {
    match args.act {
        Act::Upgrade(args) => upgrade::run(args),
    }
}
