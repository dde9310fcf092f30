//! A node's way to the API of its cell: a connection to one of the managers, on which HTTP/1.1 is spoken.
//!
//! The node's certificate alone has the role viewer there; a token with the calls gives its own role.

use super::tls::client_config;
use super::{Identity, IdentityError, Place, connect, load};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::enrol::API_PROTOCOL;

/// What stands for the host in calls; managers look at certificates and not at names.
pub const HOST: &str = wire::enrol::MANAGER_SERVER_NAME;

/// Connects to the first manager of the list that takes the connection and proves who it is, each within
/// `connect::connect_max`: one that is stopped takes connections, and says nothing. The error is that of the last one tried.
pub async fn connect_to_any(place: &Place) -> Result<TlsStream<TcpStream>, IdentityError> {
    let own = load(place)?;
    let managers = place.membership().map(|membership| membership.managers).unwrap_or_default();
    let none = "this machine knows no manager; let it join again".to_owned();
    let mut last = IdentityError::NotReached { address: "any manager".to_owned(), why: none };
    for address in &managers {
        let config = client_config(&own, API_PROTOCOL)?;
        match connect::connect_within(address, config, connect::connect_max(managers.len())).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to the manager at `HOST:PORT` as this node.
pub async fn connect_to(own: &Identity, address: &str) -> Result<TlsStream<TcpStream>, IdentityError> {
    connect::connect(address, client_config(own, API_PROTOCOL)?).await
}
