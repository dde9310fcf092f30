//! The client against a real console with a made-up manager, and how cells are found.

use super::*;
use crate::cli::follow::News;
use crate::console::testing::{Directory, FakeManager, sample_event, sample_status};
use crate::console::{ConsoleOptions, start};
use crate::role::RoleHandle;
use wire::status::{Acted, CellStatus};

struct Cell {
    directory: Directory,
    manager: FakeManager,
    role: Option<RoleHandle>,
}

impl Cell {
    fn start() -> Self {
        let directory = Directory::new();
        let (manager, handle) = FakeManager::start(sample_status(), vec![sample_event(1, "first")]);
        let listen = ([127, 0, 0, 1], 0).into();
        let accounts = crate::accounts::testing::start();
        let state_dir = directory.0.clone();
        let options = ConsoleOptions { listen, state_dir, manager: handle, accounts, callers: None };
        let (role, _) = start(options).expect("a free port and a directory of its own");
        Self { directory, manager, role: Some(role) }
    }

    fn address(&self) -> String {
        read_small(&self.directory.0.join(ADDRESS_FILE)).expect("the console wrote it")
    }

    /// As a person on another machine would name it.
    fn target(&self) -> Target {
        Target {
            config: None,
            api: Some(format!("http://{}", self.address())),
            state_dir: None,
            token_file: Some(self.directory.0.join(TOKEN_FILE)),
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let role = self.role.take().expect("only taken here");
        role.stop.send_replace(true);
        role.thread.join().expect("the console does not panic");
    }
}

#[test]
fn a_cell_is_asked_changed_and_followed() {
    let cell = Cell::start();
    run(async {
        let api = Api::find(&cell.target())?;
        assert_eq!(api.get::<CellStatus>("/api/v1/status").await?, sample_status());
        let mut follow = api.follow(None).await?;
        assert_eq!(follow.next().await?, News::Event(sample_event(1, "first")));
        assert_eq!(follow.next().await?, News::Status(Box::new(sample_status())));
        let acted: Acted = api.post("/api/v1/clusters/shop/members/shop-1/drain", String::new()).await?;
        assert_eq!(acted.text, "Drain of shop/shop-1 has begun.");
        loop {
            if let News::Status(status) = follow.next().await?
                && status.clusters[0].members[0].state == wire::view::RunState::Draining
            {
                return Ok(());
            }
        }
    })
    .expect("the cell is there");
    assert_eq!(cell.manager.world.lock().expect("nobody panicked").asked.len(), 1);
}

#[test]
fn a_cell_on_this_machine_is_found_by_its_configuration() {
    let cell = Cell::start();
    let file = cell.directory.0.join("muster.toml");
    // The port of the file is not the one in use: what the console wrote counts.
    let text = include_str!("../../config/example.toml");
    let state_dir = format!("state_dir = {:?}", cell.directory.0.display().to_string());
    let mut lines: Vec<&str> = text.lines().collect();
    let position = lines.iter().position(|line| line.trim_start_matches("# ").starts_with("state_dir"));
    lines[position.expect("the example names its state directory")] = &state_dir;
    std::fs::write(&file, lines.join("\n")).expect("a directory of our own");
    let target = Target { config: Some(file), ..Target::default() };
    let status = run(async { Api::find(&target)?.get::<CellStatus>("/api/v1/status").await });
    assert_eq!(status.expect("the cell is found"), sample_status());
}

#[test]
fn each_failure_has_its_exit_code() {
    let cell = Cell::start();
    let target = cell.target();
    let ask = |target: &Target, path: &str| {
        run(async { Api::find(target)?.get::<CellStatus>(path).await }).expect_err("it is refused")
    };
    let refused = ask(&target, "/api/v1/nothing");
    assert_eq!((refused.exit(), refused.body().code.as_str()), (Exit::No, "M2024"));
    assert_eq!(ask(&target, "/api/v1/openapi.json").exit(), Exit::OurFault, "not a status");

    let wrong = cell.directory.0.join("wrong");
    std::fs::write(&wrong, "x".repeat(64)).expect("a directory of our own");
    let unauthorized = ask(&Target { token_file: Some(wrong), ..cell.target() }, "/api/v1/status");
    assert_eq!((unauthorized.exit(), unauthorized.body().code.as_str()), (Exit::WrongUse, "M2002"));
    let unreadable = cell.directory.0.join("none");
    let no_token = ask(&Target { token_file: Some(unreadable), ..cell.target() }, "/api/v1/status");
    assert_eq!((no_token.exit(), no_token.body().code.as_str()), (Exit::WrongUse, "M2002"));

    let target = cell.target();
    let token = std::fs::read(cell.directory.0.join(TOKEN_FILE)).expect("it is there");
    drop(cell);
    let kept = Directory::new();
    let token_file = kept.0.join("token");
    std::fs::write(&token_file, token).expect("a directory of our own");
    let gone = ask(&Target { token_file: Some(token_file), ..target }, "/api/v1/status");
    assert_eq!((gone.exit(), gone.body().code.as_str()), (Exit::CellNotReached, "M2001"));
    assert!(gone.body().retry);
}

#[test]
fn an_api_is_a_host_and_a_port() {
    for (url, authority) in [
        ("http://localhost:29003", "localhost:29003"),
        ("http://10.0.0.1:29003/", "10.0.0.1:29003"),
        ("http://[::1]:29003", "[::1]:29003"),
        ("http://cell.example", "cell.example:80"),
    ] {
        assert_eq!(authority_of(url).expect("it is right"), authority);
    }
    for url in ["localhost:29003", "https://a:1", "http://a/b", "http://a?x", "http://me@a", "/", "http://"] {
        let error = authority_of(url).expect_err(url);
        assert_eq!(error.exit(), Exit::WrongUse, "{url}");
        assert!(error.to_string().contains("e.g. http://10.0.0.1:29003"), "{error}");
    }
}

#[test]
fn values_of_a_query_are_encoded() {
    assert_eq!(encode("a b&c=d/é~"), "a%20b%26c%3Dd%2F%C3%A9~");
}
