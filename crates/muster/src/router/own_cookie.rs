//! The cookie by which the router itself keeps a conversation with its member: `ID.CLONE_ID.SIGNATURE`.
//!
//! Signed by HMAC-SHA-256, cut to 16 bytes, over the cluster's name, the id and the clone id, with a key that all routers
//! of the cell share. Promise: a value that is not signed for this cluster counts as none; the first key signs, and every
//! key of the settings is believed, so that keys can be changed without losing sessions.

use logic::affinity;
use logic::http::request::RequestHead;
use ring::hmac;
use wire::view::{Affinity, AffinityKind, View};

/// 16 bytes: 128 bits cannot be guessed, and the cookie stays short.
const SIGNATURE_BYTES: usize = 16;
/// Cookies of the name that are looked at in one request: each costs a microsecond, and nobody honest has more.
const VALUES_MAX: usize = 4;

/// The keys of the cell, the one that signs first.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Keys are hexadecimal digits; what is no key is left out, as a router must not stop for it.
    pub fn new(texts: &[String]) -> Self {
        let key = |text: &String| Some(hmac::Key::new(hmac::HMAC_SHA256, &from_hex(text)?));
        Self(texts.iter().filter_map(key).collect())
    }

    fn is_signed(&self, view: &View, value: &str) -> bool {
        let Some((signed, signature)) = value.rsplit_once('.') else { return false };
        let Some(signature) = from_hex(signature).filter(|bytes| bytes.len() == SIGNATURE_BYTES) else {
            return false;
        };
        let is_equal = |key: &hmac::Key| {
            let right = sign(key, view, signed);
            // Looks at every byte, so that the time tells nothing about the right signature.
            right.iter().zip(&signature).fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
        };
        self.0.iter().any(is_equal)
    }

    /// The Set-Cookie value that binds a conversation to a member; None without keys.
    pub fn set_cookie(&self, view: &View, clone_id: &str, id: [u64; 2], is_secure: bool) -> Option<Box<str>> {
        let affinity = view.affinity.as_ref()?;
        let signed = format!("{:016x}{:016x}.{clone_id}", id[0], id[1]);
        let signature = sign(self.0.first()?, view, &signed);
        let signature = logic::enrol::to_hex(&signature);
        let secure = if is_secure { "; Secure" } else { "" };
        let name = &affinity.cookie;
        Some(format!("{name}={signed}.{signature}; Path=/; HttpOnly; SameSite=Lax{secure}").into())
    }
}

fn sign(key: &hmac::Key, view: &View, signed: &str) -> [u8; SIGNATURE_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(view.cluster.0.as_bytes());
    context.update(&[0]);
    context.update(signed.as_bytes());
    let tag = context.sign();
    let mut signature = [0; SIGNATURE_BYTES];
    signature.copy_from_slice(&tag.as_ref()[..SIGNATURE_BYTES]);
    signature
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The session values of a request that may be believed.
pub fn session_values<'a>(
    keys: &'a Keys,
    view: &'a View,
    affinity: &'a Affinity,
    head: &'a RequestHead<'_, '_>,
) -> impl Iterator<Item = &'a str> {
    let is_own = affinity.kind == AffinityKind::Own;
    let most = if is_own { VALUES_MAX } else { usize::MAX };
    affinity::session_values(head.cookies(), head.target.as_bytes(), affinity)
        .take(most)
        .filter(move |value| !is_own || keys.is_signed(view, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use logic::http::HeaderSpace;
    use logic::http::request::{HeadLimits, parse};

    fn view(cluster: &str) -> View {
        let affinity = Affinity {
            kind: AffinityKind::Own,
            cookie: "MUSTERID".into(),
            separator: '.',
            ..Affinity::default()
        };
        View { cluster: cluster.into(), affinity: Some(affinity), ..View::default() }
    }

    fn keys(texts: &[&str]) -> Keys {
        Keys::new(&texts.iter().map(|text| text.repeat(32)).collect::<Vec<_>>())
    }

    /// How many values of that Cookie header are believed.
    fn believed(keys: &Keys, view: &View, cookie: &str) -> usize {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
        let mut space = HeaderSpace::new();
        let limits = HeadLimits { size_max_bytes: 65_536, header_count_max: 10 };
        let head = parse(text.as_bytes(), &mut space, limits).expect("well-formed").expect("whole");
        let affinity = view.affinity.as_ref().expect("the sample has affinity");
        session_values(keys, view, affinity, &head).count()
    }

    #[test]
    fn a_signed_cookie_is_believed_by_who_has_the_key_and_in_its_cluster_only() {
        let shop = view("shop");
        let cookie = keys(&["0a"]).set_cookie(&shop, "one.two", [1, 2], true).expect("there is a key");
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        let value = cookie.split(';').next().expect("a value");
        assert_eq!(believed(&keys(&["0a"]), &shop, value), 1);
        assert_eq!(believed(&keys(&["0b", "0a"]), &shop, value), 1, "the key was changed");
        assert_eq!(believed(&keys(&["0b"]), &shop, value), 0, "a stranger's key");
        assert_eq!(believed(&Keys::default(), &shop, value), 0);
        assert_eq!(believed(&keys(&["0a"]), &view("other"), value), 0, "another cluster's");
        let forged = value.replace(".one", ".oNe");
        assert_eq!(believed(&keys(&["0a"]), &shop, &forged), 0);
        for at in "MUSTERID=".len()..value.len() {
            let (before, after) = value.split_at(at);
            let other = if after.starts_with('0') { '1' } else { '0' };
            let changed = format!("{before}{other}{}", &after[1..]);
            assert_eq!(believed(&keys(&["0a"]), &shop, &changed), 0, "{changed}");
            assert_eq!(believed(&keys(&["0a"]), &shop, before), 0, "{before}");
        }
        assert_eq!(
            believed(&keys(&["0a"]), &shop, &format!("MUSTERID=nonsense; {value}")),
            1,
            "each is tried"
        );
    }
}
