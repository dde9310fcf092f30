//! Processor time per request over TLS and HTTP/2: Muster, HAProxy and nginx in turn, loaded by h2load.
//!
//! All show the same ECDSA P-256 certificate, and the client offers one cipher and one group only. Members are spoken to
//! in HTTP/1.1, as ever. The connections' handshakes are part of the bill: one for a thousand requests and more.

use super::candidate::{Doors, Kind};
use super::generator::Generator;
use super::report::ProtocolCell;
use super::router::{Stage, shuffle};
use super::{meter, statistics};
use crate::failure::{Doing, Failure, Outcome};
use crate::process::{self, Owned};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds below which a median is not worth much.
pub const ROUNDS_MIN: usize = 5;
const PROXIES: [Kind; 3] = [Kind::Muster, Kind::Haproxy, Kind::Nginx];
/// A slice of half a second or more with each of them.
const REQUESTS: u32 = 40_000;
const WARM_UP_REQUESTS: u32 = 4_000;
const CONNECTIONS: u32 = 32;
/// Requests of one HTTP/2 connection at a time.
const STREAMS: u32 = 8;
const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
const GROUP: &str = "X25519";
/// Longest that h2load may take for one slice. Two minutes: a hundred times what it takes on a quiet machine.
const SLICE_TIME_MAX: Duration = Duration::from_secs(120);
/// How long the back ends answer between two looks whether h2load has ended.
const SERVE: Duration = Duration::from_millis(5);
/// What a browser says, as in the measurement of HTTP/1.1.
const HEADERS: [&str; 4] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1 over TLS 1.3.
    Https,
    /// HTTP/2 in clear text, begun at once.
    Http2,
    /// HTTP/2 over TLS 1.3.
    Http2Tls,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Https, Self::Http2, Self::Http2Tls];

    pub fn text(self) -> &'static str {
        match self {
            Self::Https => "TLS 1.3, HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http2Tls => "TLS 1.3, HTTP/2",
        }
    }

    fn has_tls(self) -> bool {
        match self {
            Self::Https | Self::Http2Tls => true,
            Self::Http2 => false,
        }
    }
}

/// Makes an ECDSA P-256 certificate in files of `directory`: apart, and key and certificate in one.
fn certificate(directory: &Path) -> Outcome<()> {
    fs::create_dir_all(directory).doing(format_args!("create {}", directory.display()))?;
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let mut command = Command::new(program("openssl")?);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = command.output().doing("start openssl")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("openssl could not make a certificate: {said}")));
    }
    let read = |path: &Path| fs::read_to_string(path).doing(format_args!("read {}", path.display()));
    let both = read(&certificate)? + &read(&key)?;
    fs::write(directory.join("both.pem"), both).doing("write the certificate")
}

fn program(name: &str) -> Outcome<std::path::PathBuf> {
    process::find_program(name)
        .ok_or_else(|| Failure(format!("{name} is missing: cargo xtask test --only packages installs it")))
}

/// Measures those of `kinds` that take part; muster's cells come with their ratio to the better of the others.
pub fn measure(
    kinds: &[Kind],
    rounds: usize,
    foreign_share_max: f64,
    stage: &mut Stage,
) -> Outcome<Vec<ProtocolCell>> {
    let directory = stage.directory.join("protocols");
    certificate(&directory)?;
    let mut candidates = Vec::new();
    for kind in PROXIES.iter().filter(|kind| kinds.contains(kind)) {
        let doors = Doors::in_directory(&directory)?;
        candidates.push((stage.start(*kind, "protocols", Some(&doors))?, doors));
    }
    let mut measured: BTreeMap<(Protocol, Kind), Vec<f64>> = BTreeMap::new();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let mut chance = 1;
    for round in 1..=rounds.max(ROUNDS_MIN) {
        for protocol in Protocol::ALL {
            shuffle(&mut order, &mut chance);
            let mut line = format!("{:>18}  round {round:>2}", protocol.text());
            for index in &order {
                let (candidate, doors) = &candidates[*index];
                let load = Load { protocol, doors, pid: candidate.pid(), name: candidate.kind.text() };
                let cpu_us = load.slice(foreign_share_max, &mut stage.generator)?;
                line.push_str(&format!("  {} {cpu_us:.1} us", candidate.kind.text()));
                measured.entry((protocol, candidate.kind)).or_default().push(cpu_us);
            }
            eprintln!("{line}");
        }
    }
    Ok(measured.iter().map(|((protocol, kind), slices)| cell(*protocol, *kind, slices, &measured)).collect())
}

fn cell(
    protocol: Protocol,
    proxy: Kind,
    slices: &[f64],
    measured: &BTreeMap<(Protocol, Kind), Vec<f64>>,
) -> ProtocolCell {
    let of = |kind: Kind| measured.get(&(protocol, kind));
    let peers: Vec<&Vec<f64>> = [Kind::Haproxy, Kind::Nginx].into_iter().filter_map(of).collect();
    let better = |round: usize| peers.iter().map(|peer| peer[round]).fold(f64::INFINITY, f64::min);
    let ratios: Vec<f64> = (0..slices.len()).map(|round| slices[round] / better(round)).collect();
    ProtocolCell {
        protocol,
        proxy,
        cpu_us: statistics::spread(slices),
        // Of one peer alone nobody can say that it is the better one.
        of_better: (peers.len() == 2).then(|| statistics::spread(&ratios)),
        slices: slices.len(),
    }
}

/// One proxy under load in one protocol.
struct Load<'a> {
    protocol: Protocol,
    doors: &'a Doors,
    pid: u32,
    name: &'static str,
}

impl Load<'_> {
    /// Processor time per request, without others on the proxies' core.
    fn slice(&self, foreign_share_max: f64, generator: &mut Generator) -> Outcome<f64> {
        self.load(WARM_UP_REQUESTS, generator)?;
        let mut foreign = 0.0;
        for _ in 0..super::router::REPEATS_MAX {
            let before = meter::read(self.pid)?;
            self.load(REQUESTS, generator)?;
            let usage = before.usage_until(&meter::read(self.pid)?);
            foreign = usage.foreign_share;
            if foreign <= foreign_share_max {
                return Ok(usage.run.as_secs_f64() * 1e6 / f64::from(REQUESTS));
            }
        }
        Err(super::router::not_quiet(foreign))
    }

    fn load(&self, requests: u32, generator: &mut Generator) -> Outcome<()> {
        let mut command = Command::new(program("h2load")?);
        let (scheme, address) = match self.protocol.has_tls() {
            true => ("https", self.doors.https),
            false => ("http", self.doors.http2),
        };
        command.arg("--clients").arg(CONNECTIONS.to_string()).arg("--requests").arg(requests.to_string());
        match self.protocol {
            Protocol::Https => command.arg("--h1"),
            Protocol::Http2 | Protocol::Http2Tls => {
                command.arg("--max-concurrent-streams").arg(STREAMS.to_string())
            }
        };
        command.args(["--tls13-ciphers", CIPHER, "--groups", GROUP]);
        for header in HEADERS {
            command.arg("--header").arg(header);
        }
        command.arg(format!("{scheme}://{address}/200"));
        let log = self.doors.log.as_path();
        super::candidate::write_output_to(&mut command, log)?;
        command.stdin(Stdio::null());
        let mut child = Owned(command.spawn().doing("start h2load")?);
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.0.try_wait().doing("wait for h2load")? {
                break status;
            }
            if started.elapsed() > SLICE_TIME_MAX {
                return Err(Failure(format!("{}: h2load did not end in {SLICE_TIME_MAX:?}", self.name)));
            }
            generator.serve(SERVE)?;
        };
        let said = fs::read_to_string(log).doing("read what h2load said")?;
        match (status.success(), self.trouble(requests, &said)) {
            (true, None) => Ok(()),
            (_, trouble) => Err(Failure(format!(
                "{}, {}: h2load ended with {status}, {}:\n{said}",
                self.name,
                self.protocol.text(),
                trouble.unwrap_or_default()
            ))),
        }
    }

    /// What of its words is not as it must be.
    fn trouble(&self, requests: u32, said: &str) -> Option<String> {
        let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
        let answered = format!("status codes: {requests} 2xx");
        let tls = ["TLS Protocol: TLSv1.3", CIPHER, GROUP];
        let protocol = match self.protocol {
            Protocol::Https => "Application protocol: http/1.1",
            Protocol::Http2 => "Application protocol: h2c",
            Protocol::Http2Tls => "Application protocol: h2",
        };
        let tls = if self.protocol.has_tls() { &tls[..] } else { &[] };
        let wanted = [all.as_str(), answered.as_str(), protocol];
        let missing = wanted.iter().chain(tls).find(|text| !said.contains(**text));
        missing.map(|text| format!("which did not say {text:?}"))
    }
}
