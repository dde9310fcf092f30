//! `muster user`: who may use the API and the console, and as what.

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::cluster::confirm;
use super::secret::{new_password, password};
use super::table::{self, Paint, plain};
use super::time::utc;
use super::{Exit, print};
use serde::Serialize;
use std::future::Future;
use wire::account::{NewPassword, NewUser, OwnPassword, Role, UserStatus};
use wire::id::is_valid_name;
use wire::status::Acted;

const EXAMPLES: &str = "\
Examples:
  muster user add anna --role operator       asks for her password
  pass anna | muster user add anna --role operator
  muster user list
  muster user role anna admin
  muster user password anna                  another one, as an admin
  muster user password anna --own            another one, with the one before
  muster user remove anna

Roles: a viewer looks; an operator also starts, stops, drains and restarts; an admin also changes the configuration,
nodes, users and tokens. What a user has open ends with each change.

Exit codes:
  0  done
  1  refused
  2  wrong use, or the role does not allow it
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Add a user; the password is asked for, or read from standard input
    Add(AddArgs),
    /// Show users and their roles
    List(ListArgs),
    /// Give a user another role
    Role(RoleArgs),
    /// Give a user another password
    Password(PasswordArgs),
    /// Remove a user
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// The user's name
    user: String,
    /// What the user may do
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
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
struct RoleArgs {
    /// The user's name
    user: String,
    /// viewer, operator or admin
    #[arg(value_parser = role)]
    role: Role,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct PasswordArgs {
    /// The user's name
    user: String,
    /// Your own: asks for the present one first, which takes the place of a role
    #[arg(long)]
    own: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// The user's name
    user: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// A role as it is typed.
pub fn role(text: &str) -> Result<Role, String> {
    let names = || format!("allowed are {}", Role::ALL.map(Role::name).join(", "));
    Role::named(text).ok_or_else(names)
}

pub fn run(args: Args) -> Exit {
    match args.act {
        Act::Add(args) => finish(add(&args), args.json),
        Act::List(args) => list(&args),
        Act::Role(args) => finish(set_role(&args), args.json),
        Act::Password(args) => finish(set_password(&args), args.json),
        Act::Remove(args) => finish(remove(&args), args.json),
    }
}

/// Tells what was done; None: a person said no.
pub fn finish(work: impl Future<Output = Result<Option<Acted>, ClientError>>, json: bool) -> Exit {
    match run_until_done(work) {
        Ok(Some(done)) if json => {
            let text = serde_json::to_string(&done).expect("it has only names as keys");
            print(format!("{text}\n").as_bytes())
        }
        Ok(Some(done)) => {
            eprintln!("{}", plain(&done.text));
            Exit::Yes
        }
        Ok(None) => {
            eprintln!("nothing was changed");
            Exit::No
        }
        Err(error) => fail(&error, json),
    }
}

/// Names in paths need no encoding only because they are names.
pub fn check_name(name: &str, what: &str) -> Result<(), ClientError> {
    match is_valid_name(name) {
        true => Ok(()),
        false => Err(ClientError::WrongUse(format!(
            "{name:?} is no name of a {what}: letters, digits, `.`, `_` and `-`, 64 at most"
        ))),
    }
}

fn body(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it has only names as keys")
}

async fn add(args: &AddArgs) -> Result<Option<Acted>, ClientError> {
    check_name(&args.user, "user")?;
    let api = Api::find(&args.target)?;
    let password = new_password(&format!("Password for {}", args.user))?;
    let new = NewUser { role: args.role, password };
    api.post(&format!("/api/v1/users/{}", args.user), body(&new)).await.map(Some)
}

fn list(args: &ListArgs) -> Exit {
    let asking = async { Api::find(&args.target)?.get::<Vec<UserStatus>>("/api/v1/users").await };
    let users = match run_until_done(asking) {
        Ok(users) => users,
        Err(error) => return fail(&error, args.json),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&users).expect("users have only names as keys") + "\n"
    } else {
        show(&users, Paint::of_stdout())
    };
    print(text.as_bytes())
}

fn show(users: &[UserStatus], paint: Paint) -> String {
    use table::{Side, cell};
    let heads = [
        ("USER", Side::Left),
        ("ROLE", Side::Left),
        ("ADDED (UTC)", Side::Left),
        ("CHANGED (UTC)", Side::Left),
    ];
    let row = |user: &UserStatus| {
        let times = [user.created_ms, user.changed_ms].map(|at_ms| cell(utc(at_ms)));
        [cell(user.user.to_string()), cell(user.role.name())].into_iter().chain(times).collect()
    };
    let rows: Vec<Vec<_>> = users.iter().map(row).collect();
    table::table(paint, 0, &heads, &rows)
}

async fn set_role(args: &RoleArgs) -> Result<Option<Acted>, ClientError> {
    check_name(&args.user, "user")?;
    let path = format!("/api/v1/users/{}/role?role={}", args.user, args.role);
    Api::find(&args.target)?.post(&path, String::new()).await.map(Some)
}

async fn set_password(args: &PasswordArgs) -> Result<Option<Acted>, ClientError> {
    check_name(&args.user, "user")?;
    if args.own {
        let api = Api::find_open(&args.target)?;
        let present = password(&format!("Present password of {}", args.user))?;
        let new_password = new_password("New password")?;
        let own = OwnPassword { user: args.user.as_str().into(), password: present, new_password };
        return api.post("/api/v1/own-password", body(&own)).await.map(Some);
    }
    let api = Api::find(&args.target)?;
    let password = new_password(&format!("New password for {}", args.user))?;
    let path = format!("/api/v1/users/{}/password", args.user);
    api.post(&path, body(&NewPassword { password })).await.map(Some)
}

async fn remove(args: &RemoveArgs) -> Result<Option<Acted>, ClientError> {
    check_name(&args.user, "user")?;
    let api = Api::find(&args.target)?;
    if !args.yes && !confirm(&format!("Remove the user {}?", args.user))? {
        return Ok(None);
    }
    api.post(&format!("/api/v1/users/{}/remove", args.user), String::new()).await.map(Some)
}
