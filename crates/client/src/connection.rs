//! One connection to a member or router: made, used for one call after the other, given up.
//!
//! A connection has no task of its own: whoever makes a call drives it, so that nothing outlives its owner and a call that is
//! given up takes its connection along. Promise: `is_sent` of a failure is false only if nobody can have seen the call.

use crate::error::{Failure, How};
use crate::place::Place;
use crate::tls::Tls;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// With and without TLS.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl Io for TcpStream {}
impl Io for tokio_rustls::client::TlsStream<TcpStream> {}

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves its bytes.
    driver: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    is_over: bool,
    pub idle_since: Instant,
}

/// An answer, and the connection if it can be used again.
pub type Answered = (Response<Bytes>, Option<Connection>);

impl Connection {
    pub async fn open(place: &Place, tls: &Tls, most: Duration) -> Result<Self, Failure> {
        let name = place.to_string();
        let failed = |error: io::Error| Failure::unsent(&name, How::NotConnected, error);
        match timeout(most, connect(place, tls)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(Failure::plain(&name, How::ConnectedTooLate, false)),
        }
    }

    /// Whether it can still be used, as far as can be seen without waiting.
    pub fn is_alive(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        if !self.is_over && self.driver.as_mut().poll(&mut context).is_ready() {
            self.is_over = true;
        }
        !self.is_over && self.sender.is_ready()
    }

    /// Makes one call and takes the whole answer.
    pub async fn call(
        mut self,
        place: &Place,
        request: Request<Full<Bytes>>,
        body_max_bytes: usize,
    ) -> Result<Answered, Failure> {
        let name = place.to_string();
        let broken = |is_sent, error: Box<dyn std::error::Error + Send + Sync>| Failure {
            place: name.clone(),
            how: How::BrokeOff,
            is_sent,
            source: Some(error),
        };
        let sending = self.sender.try_send_request(request);
        let answer = drive(&mut self.driver, &mut self.is_over, sending).await;
        let answer = answer.map_err(|mut error| {
            // What is given back was never written.
            let is_sent = error.take_message().is_none();
            broken(is_sent, error.into_error().into())
        })?;
        let (head, body) = answer.into_parts();
        let collecting = Limited::new(body, body_max_bytes).collect();
        let body = drive(&mut self.driver, &mut self.is_over, collecting).await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Failure::plain(&name, How::AnswerTooLarge, true)
            } else {
                broken(true, error)
            }
        })?;
        let is_alive = self.is_alive();
        self.idle_since = Instant::now();
        Ok((Response::from_parts(head, body.to_bytes()), is_alive.then_some(self)))
    }
}

/// Waits for what the connection shall bring while moving its bytes. May be cancelled: the connection goes with it.
async fn drive<T>(
    driver: &mut Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    is_over: &mut bool,
    wanted: impl Future<Output = T>,
) -> T {
    let mut wanted = pin!(wanted);
    std::future::poll_fn(|context| {
        // Its own error comes to whoever waits as well.
        if !*is_over && driver.as_mut().poll(context).is_ready() {
            *is_over = true;
        }
        wanted.as_mut().poll(context)
    })
    .await
}

async fn connect(place: &Place, tls: &Tls) -> io::Result<Connection> {
    let stream = TcpStream::connect((place.host.as_str(), place.port)).await?;
    stream.set_nodelay(true)?;
    let io: Box<dyn Io> = match &place.tls {
        None => Box::new(stream),
        Some(name) => {
            let name = ServerName::try_from(name.clone())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            Box::new(tls.connector().connect(name, stream).await?)
        }
    };
    let (sender, driver) = http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
    Ok(Connection { sender, driver: Box::pin(driver), is_over: false, idle_since: Instant::now() })
}
