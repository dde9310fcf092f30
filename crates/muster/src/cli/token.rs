//! `muster token`: tokens with which programs use the API.

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::cluster::confirm;
use super::table::{self, Paint, plain};
use super::time::{time_ms, utc};
use super::user::{check_name, finish, role};
use super::{Exit, print};
use wire::account::{ApiTokenStatus, IssuedApiToken, Role};
use wire::status::Acted;

const EXAMPLES: &str = "\
Examples:
  muster token create prometheus --role viewer --valid 365d > token
  MUSTER_TOKEN=$(cat token) muster status --api http://10.0.0.1:29003
  muster token list
  muster token revoke prometheus

The token is shown once, and kept only as a hash. `muster user --help` says what the roles may do.

Exit codes:
  0  done
  1  refused
  2  wrong use, or the role does not allow it
  3  the cell was not reached
  4  Muster's fault";

/// Ten years: longer than the program that has it.
const VALID_DAYS_MAX: u64 = 3_650;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Make a token and print it
    Create(CreateArgs),
    /// Show tokens by name, with their roles and when they expire
    List(ListArgs),
    /// Let a token open nothing any more
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// A name for it, by which the audit log and `revoke` know it
    name: String,
    /// What who has it may do
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// How long it counts: a number with s, m, h or d, up to 3650d
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = valid_ms)]
    valid: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print a JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// Its name
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

fn valid_ms(text: &str) -> Result<u64, String> {
    time_ms(text, VALID_DAYS_MAX)
}

pub fn run(args: Args) -> Exit {
    match args.act {
        Act::Create(args) => run_until_done(create(&args)).unwrap_or_else(|error| fail(&error, args.json)),
        Act::List(args) => list(&args),
        Act::Revoke(args) => finish(revoke(&args), args.json),
    }
}

async fn create(args: &CreateArgs) -> Result<Exit, ClientError> {
    check_name(&args.name, "token")?;
    let path = format!("/api/v1/tokens/{}?role={}&valid_ms={}", args.name, args.role, args.valid);
    let issued: IssuedApiToken = Api::find(&args.target)?.post(&path, String::new()).await?;
    if args.json {
        let text = serde_json::to_string(&issued).expect("a token has only names as keys");
        return Ok(print(format!("{text}\n").as_bytes()));
    }
    let until = utc(issued.expires_ms);
    eprintln!("token {} with the role {}, until {until} UTC; it is shown only here:", args.name, args.role);
    Ok(print(format!("{}\n", plain(&issued.token)).as_bytes()))
}

fn list(args: &ListArgs) -> Exit {
    let asking = async { Api::find(&args.target)?.get::<Vec<ApiTokenStatus>>("/api/v1/tokens").await };
    let tokens = match run_until_done(asking) {
        Ok(tokens) => tokens,
        Err(error) => return fail(&error, args.json),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&tokens).expect("tokens have only names as keys") + "\n"
    } else {
        show(&tokens, crate::identity::now_us() / 1_000, Paint::of_stdout())
    };
    print(text.as_bytes())
}

fn show(tokens: &[ApiTokenStatus], now_ms: u64, paint: Paint) -> String {
    use table::{Side, Style, cell, styled};
    let heads = [
        ("TOKEN", Side::Left),
        ("ROLE", Side::Left),
        ("MADE (UTC)", Side::Left),
        ("BY", Side::Left),
        ("EXPIRES (UTC)", Side::Left),
    ];
    let row = |token: &ApiTokenStatus| {
        let expires = utc(token.expires_ms);
        let expires = match now_ms < token.expires_ms {
            true => cell(expires),
            false => styled(format!("{expires}, expired"), Style::Careful),
        };
        let made = [cell(token.token.to_string()), cell(token.role.name()), cell(utc(token.created_ms))];
        made.into_iter().chain([cell(plain(&token.by)), expires]).collect()
    };
    let rows: Vec<Vec<_>> = tokens.iter().map(row).collect();
    table::table(paint, 0, &heads, &rows)
}

async fn revoke(args: &RevokeArgs) -> Result<Option<Acted>, ClientError> {
    check_name(&args.name, "token")?;
    let api = Api::find(&args.target)?;
    if !args.yes && !confirm(&format!("Revoke the token {}? What uses it is refused at once.", args.name))? {
        return Ok(None);
    }
    api.post(&format!("/api/v1/tokens/{}/revoke", args.name), String::new()).await.map(Some)
}
