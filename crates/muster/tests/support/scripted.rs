//! A member made of threads of the test that does what the test says to each request: answers, stays silent, breaks off.
//!
//! For tests of what a router does when members misbehave, and of what exactly reaches them.

use super::certificates::Pair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest silence on a connection before its thread ends.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// With its lines' ends, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Got {
    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// What a member does.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200 with this body and these lines.
    Answer {
        headers: &'static str,
        body: String,
    },
    /// Exactly these bytes; the connection stays.
    Bytes(Vec<u8>),
    /// Nothing, until the other side goes.
    Silence,
    Close,
}

pub fn answer(body: &str) -> Reply {
    Reply::Answer { headers: "", body: body.to_owned() }
}

type Script = dyn Fn(&Got) -> Reply + Send + Sync;

/// Ends with the test's process; its port is its own until then.
#[derive(Clone)]
pub struct Scripted {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<Mutex<usize>>,
    script: Arc<Script>,
    tls: Option<Arc<ServerConfig>>,
}

impl Scripted {
    pub fn start(script: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port is there");
        Self::on(listener, script, None)
    }

    /// One that speaks TLS with this certificate and key.
    pub fn with_tls(pair: &Pair, script: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port is there");
        let certificates = CertificateDer::pem_file_iter(&pair.certificate).expect("it was written");
        let certificates = certificates.collect::<Result<_, _>>().expect("it is one");
        let key = PrivateKeyDer::from_pem_file(&pair.key).expect("it was written");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for them")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("they belong together");
        Self::on(listener, script, Some(Arc::new(config)))
    }

    /// One that answers with its name.
    pub fn named(name: &'static str) -> Self {
        Self::start(move |_| answer(name))
    }

    /// Begins to listen at an address that a test has kept for it.
    pub fn at(address: SocketAddr, script: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind(address).expect("the port is free"), script, None)
    }

    fn on(
        listener: TcpListener,
        script: impl Fn(&Got) -> Reply + Send + Sync + 'static,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let address = listener.local_addr().expect("it listens");
        let script: Arc<Script> = Arc::new(script);
        let member = Self { address, got: Arc::default(), connections: Arc::default(), script, tls };
        let copy = member.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let member = copy.clone();
                std::thread::spawn(move || member.serve(stream));
            }
        });
        member
    }

    /// All requests since the last call.
    pub fn take(&self) -> Vec<Got> {
        std::mem::take(&mut *self.got.lock().expect("no thread dies while it holds this"))
    }

    fn serve(&self, stream: TcpStream) {
        // Without it a silent connection would only keep its thread until the process ends.
        let _ = stream.set_read_timeout(Some(SILENCE_MAX));
        match self.tls.clone() {
            None => self.converse(stream),
            Some(tls) => {
                let server = ServerConnection::new(tls).expect("the configuration is right");
                self.converse(StreamOwned::new(server, stream));
            }
        }
    }

    fn converse(&self, mut stream: impl Read + Write) {
        let connection = {
            let mut count = self.connections.lock().expect("no thread dies while it holds this");
            *count += 1;
            *count - 1
        };
        while let Some(got) = read_request(&mut stream, connection) {
            self.got.lock().expect("no thread dies while it holds this").push(got.clone());
            let bytes = match (self.script)(&got) {
                Reply::Answer { headers, body } => {
                    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
                        .into_bytes()
                }
                Reply::Bytes(bytes) => bytes,
                Reply::Silence => {
                    let _ = stream.read(&mut [0; 1024]);
                    return;
                }
                Reply::Close => return,
            };
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

/// The next request; bodies by Content-Length, or chunked as they came. None at the end of the connection.
fn read_request(stream: &mut (impl Read + Write), connection: usize) -> Option<Got> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned();
    let mut got = Got { head, body: Vec::new(), connection };
    if got.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    if let Some(length) = got.header("content-length").and_then(|length| length.parse().ok()) {
        got.body = vec![0; length];
        stream.read_exact(&mut got.body).ok()?;
    } else if got.header("transfer-encoding").is_some() {
        while !got.body.ends_with(b"0\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            got.body.push(byte[0]);
        }
    }
    Some(got)
}
