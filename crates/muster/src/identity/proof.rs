//! Proof that whoever asks for a certificate has the key that it is for: a signature over what only both ends of this
//! TLS connection know.

use logic::enrol::{from_hex, to_hex};
use rcgen::{KeyPair, SigningKey};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::{ConnectionCommon, SideData};
use wire::enrol::{PROOF_LABEL, PublicKey};

/// Bytes that both ends derive. 32: as many as the hash that is signed.
const CHALLENGE_BYTES: usize = 32;
/// Bytes of an uncompressed point of P-256.
const POINT_BYTES: usize = 65;

/// What is to be signed on this connection.
pub type Challenge = [u8; CHALLENGE_BYTES];

/// None while the handshake is not complete.
pub fn challenge<Side: SideData>(connection: &ConnectionCommon<Side>) -> Option<Challenge> {
    connection.export_keying_material([0; CHALLENGE_BYTES], PROOF_LABEL, None).ok()
}

/// The public half of a key, with the proof.
pub fn prove(key: &KeyPair, challenge: &Challenge) -> Result<PublicKey, rcgen::Error> {
    Ok(PublicKey { point: to_hex(key.public_key_raw()), proof: to_hex(&key.sign(challenge)?) })
}

/// The point, if the other side has its private half.
pub fn verify(key: &PublicKey, challenge: &Challenge) -> Option<Vec<u8>> {
    let point = from_hex(&key.point).filter(|point| point.len() == POINT_BYTES)?;
    let signature = from_hex(&key.proof)?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point);
    public.verify(challenge, &signature).ok()?;
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_a_key_proves_it_and_only_on_this_connection() {
        let (own, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let here = [1; CHALLENGE_BYTES];
        let proven = prove(&own, &here).expect("it can sign");
        assert_eq!(verify(&proven, &here).as_deref(), Some(own.public_key_raw()));
        assert_eq!(verify(&proven, &[2; CHALLENGE_BYTES]), None);
        let stolen = PublicKey { point: to_hex(other.public_key_raw()), ..proven.clone() };
        assert_eq!(verify(&stolen, &here), None);
        for point in ["", "00", "zz", &"04".repeat(65)] {
            assert_eq!(verify(&PublicKey { point: point.into(), ..proven.clone() }, &here), None, "{point}");
        }
    }
}
