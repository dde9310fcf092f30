//! `muster node confirm-lost`: a person has looked at nodes that fell silent together.

use super::check_name;
use crate::cli::Exit;
use crate::cli::client::{Api, ClientError, Target};
use crate::cli::cluster::{confirm, tell};
use wire::status::Acted;

const EXAMPLES: &str = "\
Examples:
  muster node confirm-lost rack2-1 rack2-2
  muster node confirm-lost --all --yes     all that fell silent together and are not heard again

Where more than a fifth of all nodes fall silent at once, the network is likelier broken than all of them, and nothing is taken
over from them by itself. This says that these are really lost, or cannot be reached for long: failover groups go elsewhere as
from any node that is lost, once its leases have run out. Groups without leases, and hard ones, still ask for what they need.

Exit codes: 0 done, 1 refused, 2 wrong use, 3 the cell was not reached, 4 Muster's fault.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct LostArgs {
    /// The nodes
    #[arg(required_unless_present = "all")]
    nodes: Vec<String>,
    /// All nodes that wait for such a word
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn confirm_lost(args: &LostArgs) -> Result<Exit, ClientError> {
    for node in &args.nodes {
        check_name(node)?;
    }
    let api = Api::find(&args.target)?;
    let nodes = match args.all {
        true => waiting(&api).await?,
        false => args.nodes.clone(),
    };
    if nodes.is_empty() {
        return Ok(tell(args.json, "no node waits for such a word"));
    }
    if !args.yes && !confirm(&format!("Are these really lost: {}?", nodes.join(", ")))? {
        eprintln!("nothing was changed");
        return Ok(Exit::No);
    }
    let mut said = Vec::new();
    for node in &nodes {
        let path = format!("/api/v1/nodes/{node}/confirm-lost");
        let acted: Acted = api.post(&path, String::new()).await?;
        said.push(acted.text);
    }
    Ok(tell(args.json, &said.join("\n")))
}

async fn waiting(api: &Api) -> Result<Vec<String>, ClientError> {
    let status = api.status().await?;
    let mass = status.nodes.into_iter().filter(|node| node.lost_with_many);
    Ok(mass.map(|node| node.node.0).collect())
}
