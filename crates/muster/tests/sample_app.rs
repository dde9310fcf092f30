//! The sample application as a browser and a supervisor see it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Of an answer that does not fit into buffers.
const LONG_BYTES: usize = 64_000_000;

struct App {
    child: Child,
    address: SocketAddr,
}

impl App {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["sample-app", "--port", "0", "--member", "one", "--clone-id", "c1"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the application starts");
        let mut line = String::new();
        let stderr = child.stderr.take().expect("stderr is a pipe");
        BufReader::new(stderr).read_line(&mut line).expect("it says where it listens");
        let (_, address) = line.trim().split_once("http://").expect("it says where it listens");
        let address = address.parse().expect("an address");
        Self { child, address }
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
        stream.write_all(request.as_bytes()).expect("it reads");
        stream
    }

    fn ask(&self, request: &str) -> String {
        read(self.send(request))
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"))
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("it has a number");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    fn status(mut self) -> Option<i32> {
        self.child.wait().expect("it is our child").code()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_session_is_counted_and_taken_over_by_appending_the_clone_id() {
    let app = App::start();
    let first = app.get("/", "");
    assert!(first.contains("\r\nx-member: one\r\n"), "{first}");
    let (_, rest) = first.split_once("set-cookie: ").expect("a session begins");
    let (cookie, _) = rest.split_once(';').expect("the cookie has attributes");
    assert!(cookie.starts_with("JSESSIONID=0000") && cookie.ends_with(":c1"), "{cookie}");
    let again = app.get("/", &format!("Cookie: other=1; {cookie}\r\nAccept: application/json\r\n"));
    assert!(again.contains("\"count\":2") && !again.contains("set-cookie"), "{again}");
    let foreign = cookie.replace(":c1", ":c9");
    let taken = app.get("/", &format!("Cookie: {foreign}\r\n"));
    assert!(taken.contains(&format!("set-cookie: {foreign}:c1;")) && taken.contains("3 requests"), "{taken}");
}

#[test]
fn each_address_does_what_it_says() {
    let app = App::start();
    for (path, status, body) in [
        ("/healthz", "200 OK", "ok\n"),
        ("/health", "200 OK", "ok\n"),
        ("/slow?ms=1", "200 OK", "one answered after 1 ms\n"),
        ("/slow?ms=900000", "400 Bad Request", "say how long: /slow?ms=N with N from 0 to 600000\n"),
        ("/slow", "400 Bad Request", "say how long: /slow?ms=N with N from 0 to 600000\n"),
        ("/status/503", "503 Service Unavailable", "status 503\n"),
        ("/status/204", "204 No Content", ""),
        ("/status/99", "400 Bad Request", "say which: /status/N with N from 200 to 599\n"),
        ("/bytes/x", "400 Bad Request", "say how many: /bytes/N\n"),
        ("/bytes/0", "200 OK", ""),
        ("/nothing", "404 Not Found", "nothing is at /nothing\n"),
    ] {
        let answer = app.get(path, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{path}: {answer}");
    }
    let refused = app.ask("DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD, POST"), "{refused}");
}

#[test]
fn bodies_come_and_go_whole() {
    let app = App::start();
    let many = app.get("/bytes/3000000", "");
    let (head, body) = many.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("content-length: 3000000"), "{head}");
    assert_eq!(body.len(), 3_000_000);
    let chunked = "POST /echo?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
    let echoed = app.ask(&format!("{chunked}\r\n5\r\nhello\r\n0\r\n\r\n"));
    assert!(echoed.contains("POST /echo?a=b HTTP/1.1\nhost: x\n") && echoed.contains("hello"), "{echoed}");
    let echoed = app.ask(&format!("{chunked}Accept: application/json\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    assert!(echoed.contains("\"body\":\"hello\"") && echoed.contains("\"method\":\"POST\""), "{echoed}");
}

#[test]
fn a_crash_answers_first_and_ends_with_70() {
    let app = App::start();
    let answer = app.get("/crash", "");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("one crashes now\n"), "{answer}");
    assert_eq!(app.status(), Some(70));
}

#[test]
fn requests_under_way_are_finished_before_the_end() {
    let app = App::start();
    let _silent = app.send("");
    let idle = app.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut first = [0; 15];
    (&idle).read_exact(&mut first).expect("it answers");
    // Far more than all buffers on its way take, so it is under way for as long as nobody reads it.
    let long = app.send(&format!("GET /bytes/{LONG_BYTES} HTTP/1.1\r\nHost: x\r\n\r\n"));
    (&long).read_exact(&mut first).expect("it answers");
    app.terminate();
    let rest = read(long);
    let (_, body) = rest.split_once("\r\n\r\n").expect("the rest of a head, and a body");
    assert_eq!(body.len(), LONG_BYTES);
    assert_eq!(app.status(), Some(0));
}

#[test]
fn a_missing_port_is_wrong_use() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    let output = command.arg("sample-app").env_remove("PORT").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "muster sample-app: no port given: use --port, or set PORT\n");
}
