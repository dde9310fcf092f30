//! Asks a manager for a certificate: with a token the first time, with the present certificate later.
//!
//! Promise: nothing is said before the manager has proven to be of the cell that is meant. A key is made here and
//! never leaves this machine.

use super::authority::make;
use super::connect::{connect, explain};
use super::{Identity, IdentityError, Membership, Place, bearer_of, fingerprint, load, pem_text, proof, tls};
use crate::kept_file;
use crate::link::{read_bounded_frame, write_frame};
use logic::enrol::{JoinToken, from_hex, to_hex};
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::enrol::{ENROL_FRAME_MAX_BYTES, ENROL_VERSION, EnrolAnswer, EnrolRequest, Grant, PROTOCOL};

/// How long a manager may take to answer: its store may be busy.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Managers that are asked one after the other because the last said that the next leads. More than agree on it.
const REDIRECTS_MAX: u32 = 4;

/// Makes this machine the node that the token is for.
pub async fn join(address: &str, token: &JoinToken, place: &Place) -> Result<Membership, IdentityError> {
    for path in [place.identity(), place.authority_key()] {
        if path.exists() {
            return Err(IdentityError::InACell { path });
        }
    }
    let write = |source| IdentityError::Write { path: place.path().to_path_buf(), source };
    // Before the token is used up: a directory that cannot be written shall not cost it.
    place.create().map_err(write)?;
    let config = tls::joining_config(token.authority)?;
    let key = KeyPair::generate().map_err(make)?;
    let request = |key| {
        let (version, muster) = (ENROL_VERSION, env!("CARGO_PKG_VERSION").to_owned());
        let node = Some(token.node.clone());
        EnrolRequest::Join { version, muster, secret: to_hex(&token.secret), key, node }
    };
    let asked = ask(address, &config, &key, request).await.map_err(|error| other_cell(error, token))?;
    let Asked { grant, shown } = asked;
    let authority = shown.iter().find(|shown| fingerprint(shown) == token.authority);
    let authority = authority.expect("the handshake found it").clone();
    let certificate = granted(&grant, &key)?;
    let membership = Membership { cell: grant.cell, node: grant.node, managers: grant.managers };
    kept_file::write_text(&place.authority(), &pem_text(&authority)).map_err(write)?;
    place.keep_membership(&membership).map_err(write)?;
    // Last: with it this machine is in the cell.
    place.keep_identity(&certificate, &key).map_err(write)?;
    Ok(membership)
}

/// Gets a new certificate for a new key in exchange for the present one, and keeps both.
pub async fn renew(place: &Place, identity: &Identity) -> Result<Identity, IdentityError> {
    let write = |source| IdentityError::Write { path: place.path().to_path_buf(), source };
    let membership = place.membership();
    let membership = membership.ok_or_else(|| IdentityError::None { directory: place.path().into() })?;
    let config = tls::client_config(identity, PROTOCOL)?;
    let mut last = IdentityError::NotReached { address: "no manager".into(), why: "none is known".into() };
    for address in &membership.managers {
        let key = KeyPair::generate().map_err(make)?;
        let request = |key| {
            let (version, muster) = (ENROL_VERSION, env!("CARGO_PKG_VERSION").to_owned());
            EnrolRequest::Renew { version, muster, key }
        };
        let grant = match ask(address, &config, &key, request).await {
            Ok(asked) => asked.grant,
            // Another manager may be reached.
            Err(error @ (IdentityError::NotReached { .. } | IdentityError::OtherCell { .. })) => {
                last = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        let certificate = granted(&grant, &key)?;
        place.keep_identity(&certificate, &key).map_err(write)?;
        let newest = Membership { cell: grant.cell, node: grant.node, managers: grant.managers };
        if newest != membership {
            place.keep_membership(&newest).map_err(write)?;
        }
        return load(place);
    }
    Err(last)
}

/// A manager of another cell than the token's is what a mistyped address leads to.
fn other_cell(error: IdentityError, token: &JoinToken) -> IdentityError {
    match error {
        IdentityError::OtherCell { address, why } => {
            let wanted = &to_hex(&token.authority)[..16];
            let why = format!("{why}; the token is for the cell whose authority begins with {wanted}");
            IdentityError::OtherCell { address, why }
        }
        error => error,
    }
}

/// What a manager gave, and the certificates that it showed.
struct Asked {
    grant: Grant,
    shown: Vec<CertificateDer<'static>>,
}

/// Asks the manager at an address, and whom it names as the one that leads.
async fn ask(
    address: &str,
    config: &Arc<ClientConfig>,
    key: &KeyPair,
    request: impl Fn(wire::enrol::PublicKey) -> EnrolRequest,
) -> Result<Asked, IdentityError> {
    let mut address = address.to_owned();
    for _ in 0..REDIRECTS_MAX {
        let mut stream = connect(&address, config.clone()).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = shown.iter().map(|shown| shown.clone().into_owned()).collect();
        match ask_one(&address, &mut stream, key, &request).await? {
            Answer::Granted(grant) => return Ok(Asked { grant, shown }),
            Answer::Elsewhere(Some(leader)) => address = leader,
            Answer::Elsewhere(None) => {
                let why = "no manager leads at this moment".to_owned();
                return Err(IdentityError::NotReached { address, why });
            }
        }
    }
    let why = "the managers do not agree which of them leads".to_owned();
    Err(IdentityError::NotReached { address, why })
}

enum Answer {
    Granted(Grant),
    Elsewhere(Option<String>),
}

async fn ask_one(
    address: &str,
    stream: &mut TlsStream<TcpStream>,
    key: &KeyPair,
    request: impl FnOnce(wire::enrol::PublicKey) -> EnrolRequest,
) -> Result<Answer, IdentityError> {
    let not_reached = |why: String| IdentityError::NotReached { address: address.to_owned(), why };
    let challenge = proof::challenge(stream.get_ref().1);
    let challenge = challenge.expect("the handshake is complete");
    let request = request(proof::prove(key, &challenge).map_err(make)?);
    let asking = async {
        write_frame(stream, &request).await?;
        read_bounded_frame::<EnrolAnswer>(stream, ENROL_FRAME_MAX_BYTES).await
    };
    match tokio::time::timeout(ANSWER_MAX, asking).await {
        Ok(Ok(EnrolAnswer::Granted(grant))) => Ok(Answer::Granted(grant)),
        Ok(Ok(EnrolAnswer::NotLeader { leader })) => Ok(Answer::Elsewhere(leader)),
        Ok(Ok(EnrolAnswer::Refused { code, message })) => Err(IdentityError::Refused { code, message }),
        Ok(Err(error)) => Err(not_reached(explain(&error))),
        Err(_) => Err(not_reached("no answer came in time".to_owned())),
    }
}

/// The certificate, if it is what was asked for.
fn granted(grant: &Grant, key: &KeyPair) -> Result<CertificateDer<'static>, IdentityError> {
    let made = |why: &str| IdentityError::Make { why: why.to_owned() };
    let bytes = from_hex(&grant.certificate).ok_or_else(|| made("the manager's answer holds none"))?;
    let holds_key = bytes.windows(key.public_key_raw().len()).any(|part| part == key.public_key_raw());
    let certificate = CertificateDer::from(bytes);
    match bearer_of(&certificate) {
        Some((bearer, _)) if bearer.node == grant.node && holds_key => Ok(certificate),
        Some(_) | None => Err(made("the manager's answer is for another node or key")),
    }
}
