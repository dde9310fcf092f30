//! Keeps a context's view current: asks routers when `refresh` says so, one time after the other.

use crate::context::{Shared, State};
use crate::error::{Error, Failure, How};
use crate::evidence::Failing;
use crate::limits::{FETCH_WAIT_MAX_MS, VIEW_MAX_BYTES};
use crate::refresh::Asked;
use crate::routers;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};
use wire::client_view::{ClientView, HEADER};
use wire::id::Epoch;

/// What one router said.
enum Said {
    /// Its view, or nothing new, is ours now.
    Current,
    Later {
        after_ms: u64,
    },
    NotAClient,
}

/// Gets the first view and has a second router confirm it.
pub async fn begin(shared: &Shared) -> Result<(), Error> {
    let until = Instant::now() + shared.settings.start;
    let mut tried = Vec::new();
    let mut last = None;
    loop {
        match timeout_at(until, ask_one(shared, &tried)).await {
            Ok(Some((index, Ok(Said::Current)))) => {
                tried.push(index);
                break;
            }
            Ok(Some((index, Ok(Said::NotAClient)))) => return Err(not_a_client(shared, index)),
            Ok(Some((_, Ok(Said::Later { after_ms })))) => {
                let wait_ms = after_ms + shared.state().chance.below(after_ms / 4 + 1);
                let at = Instant::now() + Duration::from_millis(wait_ms);
                if at > until {
                    return Err(not_connected(shared, last));
                }
                sleep_until(at).await;
            }
            Ok(Some((index, Err(failure)))) => {
                last = Some(Box::new(failure));
                tried.push(index);
            }
            Ok(None) | Err(_) => return Err(not_connected(shared, last)),
        }
    }
    // Another may know a newer one, or nothing of this cell: then ours is at least not older than any that we have seen.
    if let Ok(Some((_, Ok(Said::Current)))) = timeout_at(until, ask_one(shared, &tried)).await {
        shared.state().is_verified = true;
    }
    settle(shared, Asked::Current);
    Ok(())
}

fn not_connected(shared: &Shared, last: Option<Box<Failure>>) -> Error {
    Error::NotConnected { routers: shared.state().routers.count(), last }
}

fn not_a_client(shared: &Shared, index: usize) -> Error {
    Error::NotAClient { router: shared.state().routers.url(index).place.to_string() }
}

/// Runs until its context is dropped.
pub async fn keep(shared: Arc<Shared>) {
    loop {
        let next_ms = shared.state().refresh.next_ms();
        let at = shared.started + Duration::from_millis(next_ms);
        // Both may be cancelled: a word that is not heard yet stays until the next turn.
        tokio::select! {
            () = sleep_until(at) => {
                // What came of it is in the state; whoever waits for a view sees it change.
                let _ = ask(&shared).await;
                shared.pool.sweep();
            }
            () = shared.wake.notified() => {}
        }
    }
}

/// Asks routers, one after the other, until one has answered. Whoever comes while another asks, waits and finds it done.
pub async fn ask(shared: &Shared) -> Result<(), Error> {
    let came = Instant::now();
    let mut asked_at = shared.asking.lock().await;
    if asked_at.is_some_and(|asked_at| asked_at > came) {
        return Ok(());
    }
    let mut tried = Vec::new();
    let mut last = None;
    let (asked, result) = loop {
        match ask_one(shared, &tried).await {
            Some((_, Ok(Said::Current))) => break (Asked::Current, Ok(())),
            Some((_, Ok(Said::Later { after_ms }))) => {
                break (Asked::Later { after_ms }, Err(not_connected(shared, last)));
            }
            Some((index, Ok(Said::NotAClient))) => break (Asked::Failed, Err(not_a_client(shared, index))),
            Some((index, Err(failure))) => {
                last = Some(Box::new(failure));
                tried.push(index);
            }
            None => break (Asked::Failed, Err(not_connected(shared, last))),
        }
    };
    settle(shared, asked);
    if result.is_ok() {
        *asked_at = Some(Instant::now());
    }
    result
}

fn settle(shared: &Shared, asked: Asked) {
    let now_ms = shared.now_ms();
    let mut state = shared.state();
    let State { refresh, chance, .. } = &mut *state;
    refresh.done(now_ms, asked, chance);
}

/// Asks the next router that was not tried. None: there is none.
async fn ask_one(shared: &Shared, tried: &[usize]) -> Option<(usize, Result<Said, Failure>)> {
    let now_ms = shared.now_ms();
    let router = shared.state().routers.choose(now_ms, tried)?;
    let result = fetch(shared, &router).await;
    let now_ms = shared.now_ms();
    let mut state = shared.state();
    let State { routers, chance, .. } = &mut *state;
    match &result {
        Ok(_) => routers.answered(router.index),
        Err(failure) => {
            let how = if failure.how == How::Silent { Failing::Silent } else { Failing::Broken };
            routers.failed(router.index, now_ms, how, chance);
        }
    }
    Some((router.index, result))
}

async fn fetch(shared: &Shared, router: &routers::Asked) -> Result<Said, Failure> {
    let place = &router.url.place;
    let name = place.to_string();
    let request = Request::get(router.url.path.as_str())
        .header(HOST, place.authority())
        .header(HEADER, shared.claim())
        .body(Full::new(Bytes::new()))
        .map_err(|error| Failure {
            source: Some(error.into()),
            ..Failure::plain(&name, How::Malformed, false)
        })?;
    let asking = shared.call(place, request, true, VIEW_MAX_BYTES);
    let answer = tokio::time::timeout(shared.settings.answer, asking).await;
    let answer = answer.map_err(|_| Failure::plain(&name, How::Silent, true))??;
    understand(shared, &answer).ok_or_else(|| Failure::plain(&name, How::Malformed, true))
}

/// None: it makes no sense.
fn understand(shared: &Shared, answer: &Response<Bytes>) -> Option<Said> {
    match answer.status() {
        StatusCode::NOT_MODIFIED if shared.state().choice.view().epoch > Epoch::default() => {
            Some(Said::Current)
        }
        StatusCode::NO_CONTENT => {
            shared.take_news(answer.headers().get(HEADER)?);
            Some(Said::Current)
        }
        StatusCode::OK => {
            let view: ClientView = serde_json::from_slice(answer.body()).ok()?;
            let is_ours = view.cluster == shared.state().choice.view().cluster;
            is_ours.then(|| shared.take_view(view))?;
            Some(Said::Current)
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            let body: serde_json::Value = serde_json::from_slice(answer.body()).ok()?;
            let after_ms = body.get("retry_ms")?.as_u64()?.min(FETCH_WAIT_MAX_MS);
            Some(Said::Later { after_ms })
        }
        StatusCode::UNAUTHORIZED => Some(Said::NotAClient),
        _ => None,
    }
}
