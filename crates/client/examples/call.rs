//! Calls a cluster again and again, and says who answers and what the client knows.
//!
//! `cargo run -p client --example call -- CLUSTER TOKEN_FILE URL [URL...] [--members] [--path PATH] [--calls NUMBER]`
//! A URL is that of a route with `views = true`. With `--members` the members are called without a router between.

use client::{Bytes, Context, Epoch, Request, Way};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "call CLUSTER TOKEN_FILE URL [URL...] [--members] [--path PATH] [--calls NUMBER]";
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(500);

struct Options {
    cluster: String,
    token: String,
    urls: Vec<String>,
    way: Way,
    path: String,
    calls: u64,
}

fn options() -> Result<Options, String> {
    let (mut places, mut way, mut path, mut calls) = (Vec::new(), Way::Routers, "/".to_owned(), 10);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--members" => way = Way::Members,
            "--path" => path = value()?,
            "--calls" => calls = value()?.parse().map_err(|_| "--calls needs a number".to_owned())?,
            _ => places.push(word),
        }
    }
    let mut places = places.into_iter();
    let (Some(cluster), Some(file)) = (places.next(), places.next()) else { return Err(USAGE.into()) };
    let token = std::fs::read_to_string(&file).map_err(|error| format!("could not read {file}: {error}"))?;
    Ok(Options { cluster, token, urls: places.collect(), way, path, calls })
}

async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Context::to(&options.cluster, &options.token).way(options.way);
    for url in &options.urls {
        settings = settings.router(url);
    }
    let cluster = settings.connect().await?;
    let mut known = Epoch::default();
    for _ in 0..options.calls {
        let request = Request::get(options.path.as_str()).body(Bytes::new())?;
        match cluster.invoke(request).await {
            Ok(answer) => {
                let member = answer.headers().get("x-member").and_then(|name| name.to_str().ok());
                println!("{} from {}", answer.status(), member.unwrap_or("somebody"));
            }
            Err(error) => {
                println!("no answer: {}; it may have been carried out: {}", chain(&error), error.is_done())
            }
        }
        let view = cluster.view();
        if view.epoch != known {
            known = view.epoch;
            let members = view.members.iter().map(|member| format!("{} {}", member.name, member.state));
            println!("view {known}: {}", members.collect::<Vec<_>>().join(", "));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// An error with what led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
