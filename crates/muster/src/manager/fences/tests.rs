//! Agents that work, hang, fail, print nonsense, tell secrets and are not there; and one of Debian's own.

use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use wire::fence::FenceAction;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("muster-fences-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the directory is ours");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("so is the file");
        path.display().to_string()
    }

    fn agent(&self, script: &str) -> FenceSettings {
        fence(&self.file("agent", &format!("#!/bin/sh\n{script}\n")))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays behind lies in the system's directory for temporary things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fence(agent: &str) -> FenceSettings {
    FenceSettings {
        name: "power".into(),
        agent: agent.to_owned(),
        nodes: vec!["db-1".into()],
        parameters: BTreeMap::new(),
        secret_files: BTreeMap::new(),
        action: FenceAction::Off,
        timeout_ms: 20_000,
        retries: 0,
        check_interval_ms: 60_000,
    }
}

async fn ask(fence: &FenceSettings, what: Call) -> End {
    tokio::task::LocalSet::new().run_until(call(fence, &"db-1".into(), what)).await
}

#[tokio::test]
async fn an_agent_reads_what_it_is_told_and_its_status_counts() {
    let directory = Directory::new();
    let told = directory.0.join("told");
    let mut fence = directory.agent(&format!("cat > {}; echo now off; exit 2", told.display()));
    fence.parameters = BTreeMap::from([("plug".into(), "{node}".into()), ("ip".into(), "10.0.0.9".into())]);
    fence.secret_files = BTreeMap::from([("password".into(), directory.file("secret", "hunter2\n"))]);
    let end = ask(&fence, Call::Status).await;
    assert_eq!(end, End::Exited { status: 2, words: "now off".into() });
    let told = std::fs::read_to_string(told).expect("the agent has written it");
    assert_eq!(told, "action=status\nip=10.0.0.9\nplug=db-1\npassword=hunter2\n");
}

#[tokio::test]
async fn an_agent_that_hangs_is_killed_with_what_it_started() {
    let directory = Directory::new();
    let mut fence = directory.agent("sleep 1000 & sleep 1000");
    fence.timeout_ms = 200;
    let begun = Instant::now();
    assert_eq!(ask(&fence, Call::Off).await, End::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn an_agents_words_are_short_clean_and_without_secrets() {
    let directory = Directory::new();
    let mut fence = directory.agent("cat >&2; printf 'login with hunter2 failed\\033[1m\\n\\n' >&2; exit 1");
    fence.secret_files = BTreeMap::from([("password".into(), directory.file("secret", "hunter2\n"))]);
    let end = ask(&fence, Call::Off).await;
    assert_eq!(end, End::Exited { status: 1, words: "login with *** failed\u{fffd}[1m".into() });
    let garbage = directory.agent("head -c 3000000 /dev/urandom; exit 7");
    let End::Exited { status: 7, words } = ask(&garbage, Call::Off).await else { panic!("it ends with 7") };
    assert!(words.chars().count() <= WORDS_MAX_CHARS, "{words}");
}

/// What is kept of the words may end in the middle of a secret.
#[tokio::test]
async fn half_a_secret_is_no_word_either() {
    let directory = Directory::new();
    let mut fence = directory
        .agent("cat > /dev/null; echo refused; head -c 4080 /dev/zero | tr '\\0' ' '; echo hunter2hunter2");
    fence.secret_files = BTreeMap::from([("password".into(), directory.file("secret", "hunter2hunter2\n"))]);
    let end = ask(&fence, Call::Off).await;
    assert_eq!(end, End::Exited { status: 0, words: "refused".into() });
}

#[tokio::test]
async fn what_cannot_be_told_or_started_is_said() {
    let directory = Directory::new();
    let missing = fence("/nonexistent/fence_power");
    assert!(
        matches!(ask(&missing, Call::Off).await, End::Failed(why) if why.contains("could not be started"))
    );
    let mut fence = directory.agent("exit 0");
    fence.secret_files = BTreeMap::from([("password".into(), "/nonexistent/secret".into())]);
    assert!(matches!(ask(&fence, Call::Off).await, End::Failed(why) if why.contains("`password`")));
    let pipe = directory.0.join("pipe").display().to_string();
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is everywhere");
    assert!(made.success());
    fence.secret_files = BTreeMap::from([("password".into(), pipe)]);
    assert!(matches!(ask(&fence, Call::Off).await, End::Failed(why) if why.contains("not a regular file")));
    fence.secret_files.clear();
    fence.parameters = BTreeMap::from([("plug".into(), "1\naction=on".into())]);
    assert!(matches!(ask(&fence, Call::Off).await, End::Failed(why) if why.contains("more than one line")));
}

#[tokio::test]
async fn an_agent_that_dies_of_a_signal_proves_nothing() {
    let directory = Directory::new();
    let fence = directory.agent("kill -9 $$");
    assert_eq!(ask(&fence, Call::Status).await, End::Failed("was ended by signal 9".into()));
}

/// `fence_dummy` keeps its power switch in a file.
#[tokio::test]
async fn a_fence_agent_of_debian_is_driven() {
    let directory = Directory::new();
    let mut fence = fence("/usr/sbin/fence_dummy");
    let file = directory.file("switch", "on");
    fence.parameters = BTreeMap::from([("type".into(), "file".into()), ("status_file".into(), file)]);
    let status = |end: End| match end {
        End::Exited { status, .. } => status,
        other => panic!("{other:?}; the package fence-agents is needed"),
    };
    assert_eq!(status(ask(&fence, Call::Status).await), 0);
    assert_eq!(status(ask(&fence, Call::Off).await), 0);
    assert_eq!(status(ask(&fence, Call::Status).await), 2);
    assert_eq!(status(ask(&fence, Call::On).await), 0);
    assert_eq!(status(ask(&fence, Call::Status).await), 0);
}
