//! Carries out proven calls: takes them apart, asks the manager, writes the answer.

use super::answer::{self, Answer, AnswerBody};
use super::auth::Way;
use super::last_known;
use super::routes::{Call, MonitorVerb, parameters};
use super::server::{Proven, SESSION_COOKIE, Shared, session_cookie};
use super::stream::{EventStream, Subscription};
use super::{forward, metrics, page, people};
use crate::config;
use crate::manager::handle::Request as Ask;
use crate::manager::{FenceWish, PowerWish};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use std::time::Duration;
use tokio::sync::oneshot;
use wire::error_code;
use wire::group::GroupVerb;
use wire::id::{ClusterName, GroupName, MemberName, MonitorName, NodeName, RouterName};
use wire::node::{NodeAct, PowerAct};
use wire::status::{Act, Acted, ConfigText, ErrorBody, MonitorAct};

/// How long a token can be used if nothing is said. An hour: from one machine to the next by foot.
const TOKEN_VALID_MS: u64 = 3_600_000;
const TOKEN_VALID_MIN_MS: u64 = 1_000;
/// Thirty days: what is not used by then was forgotten, and lies about.
const TOKEN_VALID_MAX_MS: u64 = 30 * 24 * 3_600_000;
/// How long a drill lasts if nothing is said. A minute: long enough to see what follows from it.
const DRILL_MS: u64 = 60_000;
/// A day: a longer one was forgotten.
const DRILL_MAX_MS: u64 = 24 * 3_600_000;
/// From a request's head to the end of its body.
const BODY_MAX_MS: u64 = 15_000;
/// Longest wait for the manager; a change of the configuration waits for a disk.
const MANAGER_MAX_MS: u64 = 30_000;
/// Events in one answer, and how many come when nobody says.
const EVENTS_MAX: usize = 1_000;
const EVENTS_DEFAULT: usize = 100;

const OPENAPI: &str = include_str!("assets/openapi.json");

/// A refusal is an answer too; boxed, because it is rare and large.
pub type Outcome = Result<Answer, Box<Answer>>;

/// The answer to a call of somebody who may make it, from the manager that leads where only that one has it.
pub async fn answer(shared: &Shared, call: Call, proven: Proven) -> Answer {
    let takes_stale = call == Call::Status && last_known::is_taken(&proven);
    let answer = answer_now(shared, call, proven).await;
    match takes_stale && answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        true => shared.last_known.answer().unwrap_or(answer),
        false => answer,
    }
}

async fn answer_now(shared: &Shared, call: Call, proven: Proven) -> Answer {
    match forward::hand_on(shared, &call, proven).await {
        Ok(answer) => answer,
        Err(proven) => carry_out(shared, call, proven).await,
    }
}

async fn carry_out(shared: &Shared, call: Call, proven: Proven) -> Answer {
    let outcome = match call {
        Call::Page => show_page(shared, &proven).await,
        Call::LoginPage | Call::Login | Call::OwnPassword | Call::Asset(_) => {
            unreachable!("the server answers what needs no proof")
        }
        Call::Logout => Ok(logout(shared, &proven.request)),
        Call::Status => status(shared, &proven).await,
        Call::Events => events(shared, &proven).await,
        Call::Stream => stream(shared, proven),
        Call::ActGroup { group, verb } => act_on_group(shared, &proven, group, verb).await,
        Call::GroupMoves { group } => group_moves(shared, &proven, group).await,
        Call::ActCluster { cluster, act } => carry_out_act(shared, &proven, cluster, None, act).await,
        Call::ActMember { cluster, member, act } => {
            carry_out_act(shared, &proven, cluster, Some(member), act).await
        }
        Call::FenceTest { fence } => act_on_fence(shared, &proven, FenceWish::Test(fence)).await,
        Call::NodeOff { node } => act_on_fence(shared, &proven, FenceWish::Off(node)).await,
        Call::ActMonitor { monitor, act } => act_monitor(shared, &proven, monitor, act).await,
        Call::ActNode { node, act } => act_on_node(shared, &proven, node, act).await,
        Call::Power { node, act } => act_on_machine(shared, &proven, node, act).await,
        Call::ConfirmLost { node } => confirm_lost(shared, &proven, node).await,
        Call::NodeToken { node } => node_token(shared, &proven, node).await,
        Call::NodeRemove { node } => node_remove(shared, &proven, node).await,
        Call::Config => show_config(shared, &proven).await,
        Call::Apply => apply(shared, proven).await,
        Call::History => history(shared, &proven).await,
        Call::OldConfig { revision } => old_config(shared, &proven, revision).await,
        Call::Rollback { revision } => rollback(shared, &proven, revision).await,
        Call::Explain => explain(shared, &proven).await,
        Call::PluginCfg => plugin_cfg(shared, &proven).await,
        Call::OpenApi => Ok(answer::text(StatusCode::OK, "application/json", OPENAPI)),
        Call::Metrics => show_metrics(shared).await,
        Call::Me => people::me(&proven),
        Call::Users => people::users(shared, &proven),
        Call::UserAdd { user } => people::user_add(shared, proven, user).await,
        Call::UserRole { user } => people::user_role(shared, proven, user).await,
        Call::UserPassword { user } => people::user_password(shared, proven, user).await,
        Call::UserRemove { user } => people::user_remove(shared, &proven, user).await,
        Call::Tokens => people::tokens(shared, &proven),
        Call::TokenCreate { token } => people::token_create(shared, &proven, token).await,
        Call::TokenRevoke { token } => people::token_revoke(shared, &proven, token).await,
        Call::Audit => people::audit(shared, &proven).await,
    };
    outcome.unwrap_or_else(|refusal| *refusal)
}

fn logout(shared: &Shared, request: &Request<Incoming>) -> Answer {
    if let Some(cookie) = session_cookie(request.headers()) {
        shared.auth.borrow_mut().close_session(cookie);
    }
    let mut answer = answer::text(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", "");
    let gone = format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    let gone = HeaderValue::from_str(&gone).expect("a cookie without a value is plain text");
    answer.headers_mut().insert(header::SET_COOKIE, gone);
    answer
}

async fn show_page(shared: &Shared, proven: &Proven) -> Outcome {
    let status = ask(shared, |reply| Ask::Status { reply }).await?;
    Ok(page::console(&status, &proven.caller))
}

async fn show_metrics(shared: &Shared) -> Outcome {
    let status = ask(shared, |reply| Ask::Status { reply }).await?;
    Ok(answer::text(StatusCode::OK, metrics::CONTENT_TYPE, metrics::text(&status)))
}

async fn status(shared: &Shared, proven: &Proven) -> Outcome {
    let [] = query(proven, [])?;
    let status = ask(shared, |reply| Ask::Status { reply }).await?;
    Ok(answer::json(StatusCode::OK, &status))
}

async fn events(shared: &Shared, proven: &Proven) -> Outcome {
    let [after, most] = query(proven, ["after", "most"])?;
    let after = number("after", after, u64::MAX)?;
    let most = number("most", most, EVENTS_MAX as u64)?.map_or(EVENTS_DEFAULT, |most| most as usize);
    let events = ask(shared, |reply| Ask::Events { after, most, reply }).await?;
    Ok(answer::json(StatusCode::OK, &events))
}

fn stream(shared: &Shared, proven: Proven) -> Outcome {
    let [after] = query(&proven, ["after"])?;
    // A browser that comes back says in a header what it has; the address is still that of its first time.
    let resumed = proven.request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let resumed = resumed.and_then(|id| id.trim().parse().ok());
    let seen = resumed.or(number("after", after, u64::MAX)?);
    let Ok(permit) = shared.streams.clone().try_acquire_owned() else {
        let text = "Too many streams of events are open. Close a window of the console and try again.";
        return Err(Box::new(answer::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            error_code::TOO_MANY_STREAMS,
            text,
            true,
        )));
    };
    let subscription = Subscription {
        manager: shared.manager.clone(),
        auth: shared.auth.clone(),
        known: shared.accounts.known.clone(),
        caller: proven.caller,
        start: shared.start,
        seen,
        permit,
    };
    let stream = EventStream::new(&shared.hub, subscription);
    Ok(answer::of(StatusCode::OK, "text/event-stream", AnswerBody::Stream(stream)))
}

async fn carry_out_act(
    shared: &Shared,
    proven: &Proven,
    cluster: ClusterName,
    member: Option<MemberName>,
    act: Act,
) -> Outcome {
    let [] = query(proven, [])?;
    let who = who(proven);
    let done = ask(shared, |reply| Ask::Act { who, cluster, member, act, reply }).await?;
    let text = done.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::ACCEPTED, &Acted { text }))
}

async fn act_on_group(shared: &Shared, proven: &Proven, group: GroupName, verb: GroupVerb) -> Outcome {
    let [node, dry_run] = query(proven, ["node", "dry_run"])?;
    let dry_run = is_true("dry_run", dry_run)?;
    let act = verb.act(node.map(NodeName)).map_err(|why| bad_request(format!("`node`: {why}.")))?;
    let who = who(proven);
    let done = ask(shared, |reply| Ask::ActGroup { who, group, act, dry_run, reply }).await?;
    let text = done.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer::json(status, &Acted { text }))
}

async fn group_moves(shared: &Shared, proven: &Proven, group: GroupName) -> Outcome {
    let [] = query(proven, [])?;
    let moves = ask(shared, |reply| Ask::GroupMoves { group, reply }).await?;
    let moves = moves.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &moves))
}

async fn act_on_node(shared: &Shared, proven: &Proven, node: NodeName, act: NodeAct) -> Outcome {
    let [dry_run] = query(proven, ["dry_run"])?;
    let dry_run = is_true("dry_run", dry_run)?;
    let who = who(proven);
    let done = ask(shared, |reply| Ask::ActNode { who, node, act, dry_run, reply }).await?;
    let text = done.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer::json(status, &Acted { text }))
}

/// `confirm` is the node's name, typed by a person who has read what would be without a node.
async fn act_on_machine(shared: &Shared, proven: &Proven, node: NodeName, act: PowerAct) -> Outcome {
    let [dry_run, confirm] = query(proven, ["dry_run", "confirm"])?;
    let dry_run = is_true("dry_run", dry_run)?;
    if confirm.as_ref().is_some_and(|name| *name != node.0) {
        return Err(bad_request(format!("`confirm` is not the name of the node; allowed: {node}.")));
    }
    let is_confirmed = confirm.is_some();
    let wish = PowerWish { who: who(proven), node, act, dry_run, is_confirmed };
    let done = ask(shared, |reply| Ask::Power { wish, reply }).await?;
    let text = done.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer::json(status, &Acted { text }))
}

async fn act_monitor(shared: &Shared, proven: &Proven, monitor: MonitorName, act: MonitorVerb) -> Outcome {
    let act = match act {
        MonitorVerb::Pause | MonitorVerb::Resume => {
            let [] = query(proven, [])?;
            if act == MonitorVerb::Pause { MonitorAct::Pause } else { MonitorAct::Resume }
        }
        MonitorVerb::Fail => {
            let [for_ms] = query(proven, ["for_ms"])?;
            let for_ms = number("for_ms", for_ms, DRILL_MAX_MS)?.unwrap_or(DRILL_MS);
            MonitorAct::Fail { for_ms }
        }
    };
    let who = who(proven);
    let done = ask(shared, |reply| Ask::ActMonitor { who, monitor, act, reply }).await?;
    let text = done.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::ACCEPTED, &Acted { text }))
}

async fn act_on_fence(shared: &Shared, proven: &Proven, wish: FenceWish) -> Outcome {
    let [] = query(proven, [])?;
    let who = who(proven);
    let done = ask(shared, |reply| Ask::ActFence { who, wish, reply }).await?;
    let text = done.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::ACCEPTED, &Acted { text }))
}

async fn confirm_lost(shared: &Shared, proven: &Proven, node: NodeName) -> Outcome {
    let [] = query(proven, [])?;
    let who = who(proven);
    let done = ask(shared, |reply| Ask::ConfirmLost { who, node, reply }).await?;
    let text = done.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::ACCEPTED, &Acted { text }))
}

async fn node_token(shared: &Shared, proven: &Proven, node: NodeName) -> Outcome {
    let [valid_ms] = query(proven, ["valid_ms"])?;
    let valid_ms = number("valid_ms", valid_ms, TOKEN_VALID_MAX_MS)?.unwrap_or(TOKEN_VALID_MS);
    if valid_ms < TOKEN_VALID_MIN_MS {
        let text =
            format!("`valid_ms` is `{valid_ms}`; allowed: {TOKEN_VALID_MIN_MS} to {TOKEN_VALID_MAX_MS}.");
        return Err(bad_request(text));
    }
    let issued = ask(shared, |reply| Ask::NodeToken { node, valid_ms, reply }).await?;
    let issued = issued.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &issued))
}

async fn node_remove(shared: &Shared, proven: &Proven, node: NodeName) -> Outcome {
    let [] = query(proven, [])?;
    let who = who(proven);
    let removed = ask(shared, |reply| Ask::NodeRemove { who, node, reply }).await?;
    let text = removed.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &Acted { text }))
}

async fn show_config(shared: &Shared, proven: &Proven) -> Outcome {
    let [] = query(proven, [])?;
    let (revision, text) = ask(shared, |reply| Ask::Config { reply }).await?;
    Ok(answer::json(StatusCode::OK, &ConfigText { revision, text }))
}

async fn apply(shared: &Shared, proven: Proven) -> Outcome {
    let [dry_run, if_revision] = query(&proven, ["dry_run", "if_revision"])?;
    let (dry_run, only_after) = (is_true("dry_run", dry_run)?, number("if_revision", if_revision, u64::MAX)?);
    let who = who(&proven);
    let text = match proven.text {
        Some(text) => text,
        None => read_body(proven.request, config::SIZE_MAX_BYTES).await?,
    };
    let applied = ask(shared, |reply| Ask::Apply { who, text, dry_run, back_to: None, only_after, reply });
    let applied = applied.await?;
    let applied = applied.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &applied))
}

async fn old_config(shared: &Shared, proven: &Proven, revision: u64) -> Outcome {
    let [] = query(proven, [])?;
    let found = ask(shared, |reply| Ask::OldConfig { revision, reply }).await?;
    let found = found.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &found))
}

async fn rollback(shared: &Shared, proven: &Proven, revision: u64) -> Outcome {
    let dry_run = dry_run(proven)?;
    let who = who(proven);
    let applied = ask(shared, |reply| Ask::Rollback { who, revision, dry_run, reply }).await?;
    let applied = applied.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &applied))
}

/// Whether a change is only to be told.
fn dry_run(proven: &Proven) -> Result<bool, Box<Answer>> {
    let [dry_run] = query(proven, ["dry_run"])?;
    is_true("dry_run", dry_run)
}

fn is_true(name: &str, value: Option<String>) -> Result<bool, Box<Answer>> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(bad_request(format!("`{name}` is `{other}`; allowed: true, false."))),
    }
}

async fn history(shared: &Shared, proven: &Proven) -> Outcome {
    let [] = query(proven, [])?;
    let history = ask(shared, |reply| Ask::History { reply }).await?;
    Ok(answer::json(StatusCode::OK, &history))
}

async fn explain(shared: &Shared, proven: &Proven) -> Outcome {
    let [url, cookie] = query(proven, ["url", "cookie"])?;
    let url = url.filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| bad_request("`url` is missing: say which request to explain.".into()))?;
    let explained = ask(shared, |reply| Ask::Explain { url, cookie, reply }).await?;
    let explained = explained.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &explained))
}

async fn plugin_cfg(shared: &Shared, proven: &Proven) -> Outcome {
    let [router] = query(proven, ["router"])?;
    let router = router.filter(|router| !router.is_empty()).map(RouterName);
    let written = ask(shared, |reply| Ask::PluginCfg { router, reply }).await?;
    let written = written.map_err(|error| Box::new(answer::refuse_as_manager(&error)))?;
    Ok(answer::json(StatusCode::OK, &written))
}

/// Asks the manager; a manager that is gone or does not answer becomes an answer that says so.
async fn ask<T>(shared: &Shared, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Box<Answer>> {
    let unavailable = |text: &str| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Box::new(answer::refuse(status, error_code::MANAGER_UNAVAILABLE, text, true))
    };
    match tokio::time::timeout(Duration::from_millis(MANAGER_MAX_MS), shared.manager.ask(make)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(gone)) => {
            tracing::debug!(error = %gone, "a call found no manager");
            Err(unavailable(&shared.manager.why_silent()))
        }
        Err(_) => Err(unavailable("The manager did not answer in time; it may still do what was asked.")),
    }
}

/// Who did it, for the history.
fn who(proven: &Proven) -> String {
    let way = match proven.caller.way {
        Way::Token | Way::Certificate => "by API",
        Way::Session { .. } => "by console",
        Way::Manager => "through another manager",
    };
    format!("{} {way} from {}", proven.caller.principal, proven.peer.address.ip().to_canonical())
}

pub async fn read_body(request: Request<Incoming>, size_max_bytes: usize) -> Result<String, Box<Answer>> {
    read_text(request.into_body(), size_max_bytes).await
}

pub async fn read_text(
    body: impl Body<Data = Bytes, Error = hyper::Error>,
    size_max_bytes: usize,
) -> Result<String, Box<Answer>> {
    let reading = Limited::new(body, size_max_bytes).collect();
    let read = tokio::time::timeout(Duration::from_millis(BODY_MAX_MS), reading).await;
    let bytes = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("The body is longer than {size_max_bytes} bytes.");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            let mut answer = answer::refuse(status, error_code::CALL_TOO_LARGE, text, false);
            // What is left of the body is not read, so nothing can follow on this connection.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Err(Box::new(answer));
        }
        Ok(Err(error)) => return Err(bad_request(format!("The body broke off: {error}."))),
        Err(_) => {
            let text = "The body did not come in time.";
            return Err(Box::new(answer::refuse(
                StatusCode::REQUEST_TIMEOUT,
                error_code::CALL_MALFORMED,
                text,
                true,
            )));
        }
    };
    String::from_utf8(bytes.into()).map_err(|error| {
        bad_request(format!("The body is not UTF-8 from byte {} on.", error.utf8_error().valid_up_to()))
    })
}

pub fn query<const N: usize>(
    proven: &Proven,
    allowed: [&str; N],
) -> Result<[Option<String>; N], Box<Answer>> {
    parameters(proven.request.uri().query().unwrap_or_default(), allowed)
        .map_err(|error| bad_request(format!("{error}.")))
}

pub fn number(name: &str, text: Option<String>, most: u64) -> Result<Option<u64>, Box<Answer>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ => Err(bad_request(format!("`{name}` is `{text}`; allowed: 0 to {most}."))),
    }
}

pub fn bad_request(text: String) -> Box<Answer> {
    Box::new(answer::refuse(StatusCode::BAD_REQUEST, error_code::CALL_MALFORMED, text, false))
}

pub fn our_fault(detail: &str) -> Box<Answer> {
    let error = ErrorBody {
        code: error_code::CONSOLE_FAILED.to_string(),
        message: "Muster could not do this.".into(),
        retry: true,
    };
    tracing::error!(detail, "the console failed");
    Box::new(answer::json(StatusCode::INTERNAL_SERVER_ERROR, &error))
}
