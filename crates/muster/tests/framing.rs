//! What Muster lets through, nginx, httpd and HAProxy behind it understand as the same one request; what they could
//! understand otherwise reaches none of them. Afterwards everybody is still in step.

#[path = "framing/corpus.rs"]
mod corpus;
#[path = "framing/servers.rs"]
mod servers;
mod support;

use corpus::{Case, cases};
use servers::{Server, Understood, start_all};
use std::net::SocketAddr;
use support::cell::Cell;
use support::http::{self, Answer, Connection};
use support::{Scratch, free_address};

/// What the client saw of one case.
#[derive(Debug)]
struct Seen {
    first: Option<Answer>,
    /// To the request that follows on the same connection.
    second: Option<Answer>,
}

/// Sends a case and another request right behind it.
fn send(router: SocketAddr, case: &Case, follower: &str) -> Seen {
    let mut connection = Connection::open(router);
    let next = format!("GET {follower} HTTP/1.1\r\nHost: x\r\n\r\n");
    // An error means that the router has closed already.
    let _ = connection.send(&[case.raw.as_slice(), next.as_bytes()].concat());
    connection.finish();
    let method = case.meaning.as_ref().map_or("GET", |meaning| meaning.method.as_str());
    let first = connection.read_answer(method).ok();
    let second = first.as_ref().and_then(|_| connection.read_answer("GET").ok());
    assert!(
        second.is_none() || connection.read_to_end().is_ok_and(|rest| rest.is_empty()),
        "{}: more than two answers",
        case.name
    );
    Seen { first, second }
}

fn follower_is(request: &Understood, follower: &str) -> bool {
    request.method == "GET" && request.target == follower && request.body.is_empty()
}

/// Says what is wrong with what the server understood.
fn judge(case: &Case, seen: &Seen, requests: &[Understood], follower: &str) -> Result<(), String> {
    let status = seen.first.as_ref().map(|answer| answer.status);
    let (own, rest) = match &case.meaning {
        Some(_) if !requests.first().is_some_and(|first| follower_is(first, follower)) => {
            requests.split_at(requests.len().min(1))
        }
        Some(_) | None => requests.split_at(0),
    };
    match rest {
        [] if seen.second.is_none() => {}
        [only]
            if follower_is(only, follower)
                && seen.second.as_ref().is_some_and(|second| second.status == 200) => {}
        _ => return Err(format!("out of step: {rest:?}, the client got {:?}", seen.second)),
    }
    let is_refused = status.is_none_or(|status| (400..=505).contains(&status));
    match (&case.meaning, own) {
        (None, _) if is_refused => Ok(()),
        (None, _) => Err(format!("it was answered with {status:?}")),
        (Some(meaning), [own]) if own == meaning => Ok(()),
        (Some(_), []) if case.is_touchy => Ok(()),
        (Some(_), [_]) if case.is_touchy && is_refused => Ok(()),
        (Some(meaning), own) => {
            Err(format!("understood {own:?} instead of {meaning:?}, answered {status:?}"))
        }
    }
}

fn tables(servers: &[Server], routers: &[SocketAddr]) -> String {
    let mut text = String::from("[[routers.front.routes]]\ncluster = \"nginx\"\n");
    for (server, router) in servers.iter().zip(routers) {
        let (name, address) = (server.name, server.address);
        if name != "nginx" {
            text.push_str(&format!(
                "\n[routers.{name}]\nlisten = [\"{router}\"]\n[[routers.{name}.routes]]\ncluster = \"{name}\"\n"
            ));
        }
        text.push_str(&format!(
            "\n[clusters.{name}.probe]\nkind = \"tcp\"\n[clusters.{name}.members.{name}]\naddress = \"{address}\"\n"
        ));
    }
    text
}

#[test]
fn everybody_understands_the_same_one_request() {
    let scratch = Scratch::new();
    let mut servers = start_all(&scratch);
    let mut routers: Vec<SocketAddr> = servers.iter().map(|_| free_address()).collect();
    let cell = Cell::start(&scratch, &tables(&servers, &routers));
    routers[0] = cell.router;
    servers.iter().for_each(|server| cell.wait_until_all_up(server.name));
    let cases = cases();
    let mut wrong = Vec::new();
    let mut passed = 0;
    for (server, router) in servers.iter_mut().zip(routers) {
        for (number, case) in cases.iter().enumerate() {
            let (follower, marker) = (format!("/follower-{number}"), format!("/marker-{number}"));
            let seen = send(router, case, &follower);
            // What was smuggled into a connection to the server would come out before or with this.
            let marked = http::get(router, &marker).map(|answer| answer.status);
            assert!(matches!(marked, Ok(200)), "{} after {}: {marked:?}", server.name, case.name);
            let requests = server.take_until(&marker);
            passed += usize::from(requests.iter().any(|request| !follower_is(request, &follower)));
            if let Err(why) = judge(case, &seen, &requests, &follower) {
                wrong.push(format!("{}: {}: {why}", server.name, case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let meant = cases.iter().filter(|case| case.meaning.is_some() && !case.is_touchy).count();
    assert!(passed >= 3 * meant, "only {passed} reached a server");
    cell.stop();
}
