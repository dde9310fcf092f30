//! One end of a link to a manager, as machines have it: TLS with the certificate that the machine has joined with.

use crate::failure::{Doing, Failure, Outcome};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::enrol::{LINK_PROTOCOL, MANAGER_SERVER_NAME};
use wire::link::{FromManager, Have, LINK_VERSION, Role, ToManager};

/// Longest wait for the manager's welcome. It may greet a hundred others before.
const WELCOME_TIME_MAX: Duration = Duration::from_secs(30);
/// Read at once.
const READ_SIZE_BYTES: usize = 64 << 10;
const LENGTH_SIZE_BYTES: usize = 4;

/// How the machine with this directory proves who it is.
pub fn identity(directory: &Path) -> Outcome<Arc<ClientConfig>> {
    let (authority, own) = (directory.join("authority.pem"), directory.join("identity.pem"));
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).doing("read the cell's authority")?;
    roots.add(authority).doing("believe the cell's authority")?;
    let certificate = CertificateDer::from_pem_file(&own).doing("read a node's certificate")?;
    let key = PrivateKeyDer::from_pem_file(&own).doing("read a node's key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .doing("set up TLS")?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key);
    let mut config = config.doing("set up TLS")?;
    config.alpn_protocols = vec![LINK_PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

pub struct Link {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// What has arrived and is no whole frame yet.
    rest: Vec<u8>,
    scratch: Vec<u8>,
}

impl Link {
    /// Connects and is welcomed; from then on a read waits for as long as `read_wait`, or not at all.
    pub fn open(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        role: Role,
        read_wait: Option<Duration>,
    ) -> Outcome<Self> {
        let name = ServerName::try_from(MANAGER_SERVER_NAME).expect("it is a DNS name");
        let connection = ClientConnection::new(config, name).doing("begin TLS")?;
        let socket = TcpStream::connect(address).doing("connect to the manager")?;
        socket.set_nodelay(true).doing("set up a link")?;
        socket.set_read_timeout(Some(WELCOME_TIME_MAX)).doing("set up a link")?;
        let stream = StreamOwned::new(connection, socket);
        let mut link = Self { stream, rest: Vec::new(), scratch: vec![0; READ_SIZE_BYTES] };
        let muster = "bench".to_owned();
        let resumes = matches!(role, Role::Router { .. });
        let (version, generation, carries, powers) = (LINK_VERSION, 0, false, false);
        link.send(&ToManager::Hello { version, role, muster, generation, resumes, carries, powers })?;
        link.welcome()?;
        if resumes {
            link.send(&ToManager::Have(Have::default()))?;
        }
        match read_wait {
            Some(_) => link.stream.sock.set_read_timeout(read_wait),
            None => link.stream.sock.set_nonblocking(true),
        }
        .doing("set up a link")?;
        Ok(link)
    }

    /// Reads no further than the manager's first message.
    fn welcome(&mut self) -> Outcome<()> {
        let started = Instant::now();
        let first = loop {
            if let Some(body) = self.frame() {
                break body;
            }
            self.read()?;
            if started.elapsed() > WELCOME_TIME_MAX {
                return Err(Failure("the manager does not answer a link".into()));
            }
        };
        match serde_json::from_slice(&first).doing("read the manager's first message")? {
            FromManager::Welcome { .. } => Ok(()),
            other => Err(Failure(format!("the manager answers a link with {other:?}"))),
        }
    }

    pub fn send(&mut self, message: &ToManager) -> Outcome<()> {
        let body = serde_json::to_vec(message).doing("write a message")?;
        self.send_body(&body)
    }

    pub fn send_body(&mut self, body: &[u8]) -> Outcome<()> {
        let length = u32::try_from(body.len()).doing("write a message's length")?;
        let frame = [&length.to_be_bytes()[..], body].concat();
        let mut left = frame.as_slice();
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(0) => return Err(Failure("the manager ended a link".into())),
                Ok(count) => left = &left[count..],
                Err(error) if is_wait(&error) => std::thread::yield_now(),
                Err(error) => return Err(Failure(format!("could not send to the manager: {error}"))),
            }
        }
        self.flush()
    }

    /// Sends what TLS has kept back, as far as the socket takes it.
    fn flush(&mut self) -> Outcome<()> {
        match self.stream.flush() {
            Err(error) if !is_wait(&error) => Err(Failure(format!("could not send to the manager: {error}"))),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The next message that has arrived, if one has; waits as `open` was told.
    pub fn take(&mut self) -> Outcome<Option<Vec<u8>>> {
        if let Some(body) = self.frame() {
            return Ok(Some(body));
        }
        self.read()?;
        Ok(self.frame())
    }

    fn read(&mut self) -> Outcome<()> {
        match self.stream.read(&mut self.scratch) {
            Ok(0) => Err(Failure("the manager ended a link".into())),
            Ok(count) => {
                self.rest.extend(&self.scratch[..count]);
                Ok(())
            }
            Err(error) if is_wait(&error) => Ok(()),
            Err(error) => Err(Failure(format!("could not hear the manager: {error}"))),
        }
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(*self.rest.first_chunk()?) as usize;
        let end = LENGTH_SIZE_BYTES + length;
        if self.rest.len() < end {
            return None;
        }
        let later = self.rest.split_off(end);
        let mut frame = std::mem::replace(&mut self.rest, later);
        Some(frame.split_off(LENGTH_SIZE_BYTES))
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
