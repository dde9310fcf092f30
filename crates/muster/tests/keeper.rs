//! The real keeper with real processes: what it tells, what it keeps, and that it leaves nothing behind.

mod processes;

use processes::{Scratch, is_alive, pid_in, send, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A keeper as an agent sees it.
struct Keeper {
    child: Child,
    stdin: Option<ChildStdin>,
    news: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Keeper {
    /// Starts a keeper of a shell script; `changes` go over the usual order.
    fn of(scratch: &Scratch, script: &str, changes: Value) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .arg("keeper")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the keeper starts");
        let log = scratch.path("log");
        let mut start = json!({
            "command": ["sh", "-c", script],
            "environment": { "SCRATCH": scratch.0 },
            "directory": null,
            "user": null,
            "cgroup": null,
            "log": log,
            "log_size_max_bytes": 1_000_000,
            "log_files_max": 2,
        });
        for (key, value) in changes.as_object().expect("changes are an object") {
            start[key] = value.clone();
        }
        let stdin = child.stdin.take();
        let news = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut keeper = Self { child, stdin, news, log };
        keeper.order(json!({ "start": start }));
        keeper
    }

    fn order(&mut self, order: Value) {
        let stdin = self.stdin.as_mut().expect("the agent lives");
        writeln!(stdin, "{order}").expect("the keeper reads");
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.news.read_line(&mut line).expect("the keeper can be heard");
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    fn pid_of_started(&mut self) -> u32 {
        let news = self.next();
        news["started"]["pid"].as_u64().unwrap_or_else(|| panic!("not started: {news}")) as u32
    }

    /// Until the member has said it.
    fn wait_for_word(&self, word: &str) {
        wait_for(word, || {
            std::fs::read_to_string(&self.log).ok().filter(|text| text.contains(word)).map(drop)
        });
    }

    /// All further news, and then its end in good order.
    fn rest(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let news = self.next();
            if news.is_null() {
                break;
            }
            all.push(news);
        }
        assert!(self.child.wait().expect("the keeper is our child").success(), "the keeper failed: {all:?}");
        all
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Only after a failed assertion: without its agent it ends and takes the member along.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

fn exited(status: &str, last_line: Option<&str>, dropped_bytes: u64) -> Value {
    json!({ "exited": { "status": status, "last_line": last_line, "dropped_bytes": dropped_bytes } })
}

#[test]
fn an_exit_is_told_with_its_status_and_the_last_words() {
    let scratch = Scratch::new("exit");
    let mut keeper = Keeper::of(&scratch, "echo one; echo two >&2; printf '\\n  \\n'; exit 3", json!({}));
    keeper.pid_of_started();
    let log = keeper.log.clone();
    assert_eq!(keeper.rest(), [exited("exited with status 3", Some("two"), 0)]);
    assert_eq!(std::fs::read_to_string(log).expect("there is a log"), "one\ntwo\n\n  \n");
}

#[test]
fn a_killed_member_is_told_as_such() {
    let scratch = Scratch::new("killed");
    let mut keeper = Keeper::of(&scratch, "exec sleep 1000", json!({}));
    let pid = keeper.pid_of_started();
    send(pid, Signal::KILL);
    assert_eq!(keeper.rest(), [exited("was killed by signal KILL", None, 0)]);
}

#[test]
fn what_cannot_be_started_is_said_in_a_sentence() {
    let scratch = Scratch::new("cannot");
    let text_file = scratch.path("text");
    std::fs::write(&text_file, "no program").expect("a file can be written");
    let broken = scratch.path("broken");
    std::fs::write(&broken, "#!/no/such/interpreter\n").expect("a file can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).expect("the file is ours");
    let (text_file, broken) = (text_file.display().to_string(), broken.display().to_string());
    for (changes, why) in [
        (json!({ "command": ["no-such-command"] }), "there is no command no-such-command in PATH".into()),
        (json!({ "command": ["/no/such/file"] }), "there is no file /no/such/file".into()),
        (
            json!({ "command": [text_file] }),
            format!("{text_file} may not be executed: Permission denied (os error 13)"),
        ),
        (json!({ "command": [broken] }), format!("{broken} is there, but not the interpreter that it names")),
        (
            json!({ "directory": "/no/such/directory" }),
            "cannot change to directory /no/such/directory: No such file or directory (os error 2)".into(),
        ),
        (
            json!({ "user": "nobody-of-that-name" }),
            "there is no user nobody-of-that-name in /etc/passwd".into(),
        ),
    ] {
        let keeper = Keeper::of(&scratch, "exit 0", changes);
        assert_eq!(keeper.rest(), [json!({ "start-failed": { "why": why } })]);
    }
}

#[test]
fn directory_and_environment_are_the_members_own() {
    let scratch = Scratch::new("surroundings");
    let changes = json!({ "directory": "/", "environment": { "COLOUR": "blue" } });
    let mut keeper = Keeper::of(&scratch, "echo $COLOUR in $PWD", changes);
    keeper.pid_of_started();
    assert_eq!(keeper.rest(), [exited("exited with status 0", Some("blue in /"), 0)]);
}

/// Needs root, as the change of user does; without it the refusal is the right answer.
#[test]
fn another_user_runs_the_member_or_the_refusal_says_why_not() {
    let scratch = Scratch::new("user");
    let is_root = rustix::process::getuid().is_root();
    let mut keeper = Keeper::of(&scratch, "echo $(id -u) $USER", json!({ "user": "nobody" }));
    if is_root {
        let pid = keeper.pid_of_started();
        let rest = keeper.rest();
        let line = rest[0]["exited"]["last_line"].as_str().expect("it said something").to_owned();
        assert!(line.ends_with(" nobody") && !line.starts_with("0 "), "process {pid} ran as {line}");
    } else {
        let why = keeper.next()["start-failed"]["why"].to_string();
        assert!(why.contains("cannot become user"), "{why}");
    }
}

/// Two processes that left group, session and parent behind.
const ESCAPE: &str = "
    setsid sh -c 'echo $$ > $SCRATCH/one; exec sleep 1000' &
    (setsid sh -c '(sleep 1000 & echo $! > $SCRATCH/two; exec sleep 1000) & exit' &)
    while ! test -s $SCRATCH/one || ! test -s $SCRATCH/two; do :; done
";

#[test]
fn no_orphan_outlives_the_member() {
    let scratch = Scratch::new("orphans");
    let mut keeper = Keeper::of(&scratch, &format!("{ESCAPE} exit 5"), json!({}));
    keeper.pid_of_started();
    let escaped = [pid_in(&scratch.path("one")), pid_in(&scratch.path("two"))];
    assert_eq!(keeper.rest(), [exited("exited with status 5", None, 0)]);
    // The keeper ends last, so there is nothing to wait for.
    for pid in escaped {
        assert!(!is_alive(pid), "process {pid} is still there");
    }
}

#[test]
fn without_its_agent_the_keeper_kills_everything() {
    let scratch = Scratch::new("agent-gone");
    let mut keeper = Keeper::of(&scratch, &format!("trap '' TERM HUP; {ESCAPE} sleep 1000"), json!({}));
    let pid = keeper.pid_of_started();
    let escaped = [pid_in(&scratch.path("one")), pid_in(&scratch.path("two"))];
    keeper.stdin = None;
    keeper.rest();
    for pid in [pid, escaped[0], escaped[1]] {
        assert!(!is_alive(pid), "process {pid} is still there");
    }
}

#[test]
fn the_member_dies_with_a_killed_keeper() {
    let scratch = Scratch::new("keeper-killed");
    let mut keeper = Keeper::of(&scratch, "exec sleep 1000", json!({}));
    let pid = keeper.pid_of_started();
    send(keeper.child.id(), Signal::KILL);
    wait_for("the member is gone", || (!is_alive(pid)).then_some(()));
}

#[test]
fn signals_meant_for_a_whole_service_do_not_end_the_keeper() {
    let scratch = Scratch::new("deaf");
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut keeper = Keeper::of(&scratch, script, json!({}));
    keeper.pid_of_started();
    keeper.wait_for_word("ready");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        send(keeper.child.id(), signal);
    }
    keeper.order(json!({ "stop": { "signal": "TERM" } }));
    assert_eq!(keeper.rest(), [exited("exited with status 0", Some("bye"), 0)]);
}

#[test]
fn a_member_that_ignores_its_stop_signal_can_be_killed() {
    let scratch = Scratch::new("stubborn");
    let script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done";
    let mut keeper = Keeper::of(&scratch, script, json!({}));
    keeper.pid_of_started();
    keeper.wait_for_word("ready");
    keeper.order(json!({ "stop": { "signal": "TERM" } }));
    keeper.wait_for_word("asked");
    keeper.order(json!("kill"));
    assert_eq!(keeper.rest(), [exited("was killed by signal KILL", Some("asked"), 0)]);
}

#[test]
fn a_suspended_member_is_woken_to_stop_in_order() {
    let scratch = Scratch::new("suspended");
    let script = "trap 'echo bye; exit 0' TERM; echo ready; kill -STOP $$; while :; do sleep 0.01; done";
    let mut keeper = Keeper::of(&scratch, script, json!({}));
    let pid = keeper.pid_of_started();
    wait_for("the member is suspended", || (processes::state(pid) == Some('T')).then_some(()));
    keeper.order(json!({ "stop": { "signal": "TERM" } }));
    assert_eq!(keeper.rest(), [exited("exited with status 0", Some("bye"), 0)]);
}

#[test]
fn the_log_is_turned_over_between_lines_and_the_oldest_goes() {
    let scratch = Scratch::new("rotation");
    let changes = json!({ "log_size_max_bytes": 1000, "log_files_max": 2 });
    // 500 lines of 10 bytes.
    let mut keeper =
        Keeper::of(&scratch, "i=1000; while [ $i -lt 1500 ]; do echo line-$i; i=$((i+1)); done", changes);
    keeper.pid_of_started();
    let log = keeper.log.clone();
    assert_eq!(keeper.rest(), [exited("exited with status 0", Some("line-1499"), 0)]);
    let read = |suffix: &str| {
        let path = format!("{}{suffix}", log.display());
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let kept = [read(".2"), read(".1"), read("")];
    for text in &kept {
        assert!(text.len() <= 1000 && text.ends_with('\n'), "{} bytes", text.len());
    }
    let kept = kept.concat();
    let lines: Vec<&str> = kept.lines().collect();
    assert!((200..=300).contains(&lines.len()), "{} lines are kept", lines.len());
    let last: Vec<String> = (1500 - lines.len()..1500).map(|number| format!("line-{number}")).collect();
    assert_eq!(lines, last, "no line is lost or torn but the oldest");
    assert!(!PathBuf::from(format!("{}.3", log.display())).exists());
}

#[test]
fn a_full_disk_costs_output_and_not_the_member() {
    let scratch = Scratch::new("full");
    let script = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo done > $SCRATCH/done; read never";
    let mut keeper = Keeper::of(&scratch, script, json!({ "log": "/dev/full" }));
    keeper.pid_of_started();
    let trouble = keeper.next();
    let why = trouble["log-trouble"]["why"].as_str().unwrap_or_else(|| panic!("no trouble: {trouble}"));
    assert_eq!(why, "cannot write /dev/full: No space left on device (os error 28)");
    wait_for("the member gets past its output", || scratch.path("done").exists().then_some(()));
    let exit = keeper.rest().pop().expect("it exits");
    assert_eq!(exit["exited"]["dropped_bytes"], 300_001);
}

#[test]
fn an_unusable_log_is_told_and_used_as_soon_as_it_can_be() {
    let scratch = Scratch::new("unusable");
    let directory = scratch.path("logs");
    std::fs::write(&directory, "in the way").expect("a file can be written");
    let script = "while ! test -e $SCRATCH/enough; do echo word; sleep 0.01; done";
    let mut keeper = Keeper::of(&scratch, script, json!({ "log": directory.join("log") }));
    keeper.pid_of_started();
    let why = keeper.next()["log-trouble"]["why"].as_str().expect("the log cannot be opened").to_owned();
    assert!(why.starts_with(&format!("cannot open {}", directory.join("log").display())), "{why}");
    std::fs::remove_file(&directory).expect("the file is ours");
    assert_eq!(keeper.next(), json!({ "log-trouble": { "why": null } }));
    std::fs::write(scratch.path("enough"), "").expect("a file can be written");
    keeper.rest();
    let text = std::fs::read_to_string(directory.join("log")).expect("there is a log now");
    assert!(text.starts_with("-- muster dropped ") && text.contains("\nword\n"), "{text}");
}

#[test]
fn output_without_end_is_read_to_the_last_byte() {
    let scratch = Scratch::new("much");
    let mut keeper =
        Keeper::of(&scratch, "head -c 3000000 /dev/zero; echo; echo end", json!({ "log": "/dev/null" }));
    keeper.pid_of_started();
    assert_eq!(keeper.rest(), [exited("exited with status 0", Some("end"), 0)]);
}

#[test]
fn a_keeper_without_an_order_refuses() {
    let output = Command::new(env!("CARGO_BIN_EXE_muster")).arg("keeper").stdin(Stdio::piped()).output();
    let output = output.expect("the keeper starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "muster keeper: the first line must say what to start\n"
    );
}
