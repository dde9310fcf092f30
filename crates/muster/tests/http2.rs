//! HTTP/2 with programs that people use: curl, nghttp and h2load as clients, nghttpd and nginx as members, and gRPC.
//!
//! What single frames do, and hostile clients, is told in the router's own stories.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use support::cell::Cell;
use support::clients::curl;
use support::servers::{self, Kind, LARGE_BYTES};
use support::{Running, Scratch, free_address, program, root, wait_for, wait_until_listening};

/// What is left of a program's output when it ended well.
fn run(command: &mut Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| panic!("could not start {name}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} ended with {}:\n{said}\n{complaint}", output.status);
    said
}

/// A member that speaks nothing but HTTP/2, and has the files of the others.
fn start_nghttpd(scratch: &Scratch) -> (SocketAddr, Running) {
    let address = free_address();
    // For its files.
    drop(servers::command("nghttpd", Kind::Nginx, scratch, address));
    let mut command = Command::new(program("nghttpd"));
    command.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]).arg(scratch.join("nghttpd/files"));
    command.arg(address.port().to_string());
    let mut process = Running::start("nghttpd", &mut command, &scratch.join("nghttpd.log"));
    wait_until_listening(address, &mut process);
    (address, process)
}

struct Web {
    cell: Cell,
    _servers: (servers::Server, Running),
}

/// `/` goes to nginx over HTTP/1.1, the host `two` to nghttpd over HTTP/2.
fn start_web(scratch: &Scratch) -> Web {
    let one = servers::start("nginx", Kind::Nginx, scratch, free_address());
    let (two, process) = start_nghttpd(scratch);
    let tables = format!(
        "[[routers.front.routes]]\nhost = \"two\"\ncluster = \"two\"\n\n\
         [[routers.front.routes]]\ncluster = \"one\"\n\n\
         [clusters.one.members.nginx]\naddress = \"{}\"\n\n\
         [clusters.two.members.nghttpd]\naddress = \"{two}\"\nhttp2 = true\n",
        one.address
    );
    let cell = Cell::start(scratch, &tables);
    cell.wait_until_all_up("one");
    cell.wait_until_all_up("two");
    Web { cell, _servers: (one, process) }
}

#[test]
fn curl_speaks_both_versions_with_members_of_both() {
    let scratch = Scratch::new();
    let web = start_web(&scratch);
    for (version, said) in [("--http2-prior-knowledge", "2"), ("--http2", "1.1"), ("--http1.1", "1.1")] {
        for (host, name) in [("one", "nginx\n"), ("two", "nghttpd\n")] {
            let url = format!("http://{}/", web.cell.router);
            let header = format!("Host: {host}");
            let format = "%{http_version} %{http_code}";
            let answer = curl(&[version, "--header", &header, "--write-out", format, &url]);
            assert_eq!(answer, format!("{name}{said} 200"), "{version} {host}");
            let size = curl(&[
                version,
                "--header",
                &header,
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code} %{size_download}",
                &format!("{url}large"),
            ]);
            assert_eq!(size, format!("200 {LARGE_BYTES}"), "{version} {host}");
            let head = curl(&[version, "--header", &header, "--head", &format!("{url}large")]);
            assert!(head.contains(&format!("{LARGE_BYTES}")), "{version} {host}: {head}");
        }
    }
    web.cell.stop();
}

#[test]
fn nghttp_gets_many_files_on_one_connection() {
    let scratch = Scratch::new();
    let web = start_web(&scratch);
    let urls: Vec<String> =
        (0..20).map(|number| format!("http://{}/large?{number}", web.cell.router)).collect();
    for host in ["one", "two"] {
        let mut command = Command::new(program("nghttp"));
        command
            .args(["--no-dep", "--null-out", "--stat", "--header"])
            .arg(format!(":authority: {host}"))
            .args(&urls);
        let said = run(&mut command);
        let answers = said.lines().filter(|line| line.contains("/large?") && line.contains(" 200 ")).count();
        assert_eq!(answers, urls.len(), "{said}");
    }
    web.cell.stop();
}

#[test]
fn h2load_gets_all_its_answers() {
    let scratch = Scratch::new();
    let web = start_web(&scratch);
    for host in ["one", "two"] {
        for (path, requests) in [("/", 20_000), ("/large", 300)] {
            let mut command = Command::new(program("h2load"));
            command.args(["--clients", "8", "--max-concurrent-streams", "32", "--requests"]);
            command.arg(requests.to_string()).arg("--header").arg(format!(":authority: {host}"));
            command.arg(format!("http://{}{path}", web.cell.router));
            let said = run(&mut command);
            let wanted = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
            assert!(
                said.contains(&wanted) && said.contains(&format!("{requests} 2xx")),
                "{host} {path}: {said}"
            );
        }
    }
    let counted: u64 = ["one", "two"]
        .into_iter()
        .zip(["nginx", "nghttpd"])
        .map(|(cluster, member)| web.cell.member(cluster, member).failed)
        .sum();
    assert_eq!(counted, 0);
    web.cell.stop();
}

/// Where the fixtures have put Python's gRPC.
fn grpc_path() -> PathBuf {
    let path = root().join("target/fixtures/grpc");
    assert!(path.join("grpc").is_dir(), "gRPC is missing: `cargo xtask test --only fixtures` fetches it");
    path
}

#[test]
fn grpc_calls_of_every_kind_pass() {
    let scratch = Scratch::new();
    let script = root().join("crates/muster/tests/support/grpc_service.py");
    let words = [program("python3").display().to_string(), script.display().to_string()];
    let command = [words.as_slice(), &["serve", "{port}", "{member}"].map(str::to_owned)].concat();
    let tables = format!(
        "[clusters.calls.defaults]\ncommand = {command:?}\nhttp2 = true\n\
         environment = {{ GRPC_PATH = \"{}\" }}\n\n\
         [clusters.calls.members.one]\n\n[clusters.calls.members.two]\n",
        grpc_path().display()
    );
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("calls");
    let mut client = Command::new(&words[0]);
    client.arg(&script).arg("call").arg(cell.router.to_string()).env("GRPC_PATH", grpc_path());
    let said = run(&mut client);
    assert_eq!(said, "unary\nstatus\nserver stream\nboth streams\ndeadline\n");
    // Who answers sooner is asked more often, so only their sum is known.
    wait_for("the router to report the calls", || {
        let told = ["one", "two"].map(|member| cell.member("calls", member));
        match told.iter().map(|member| member.requests).sum::<u64>() > 200
            && told.iter().all(|member| member.requests > 0)
        {
            true => Ok(()),
            false => Err(format!("{told:?}")),
        }
    });
    for member in ["one", "two"] {
        assert_eq!(cell.member("calls", member).failed, 0);
    }
    cell.stop();
}
