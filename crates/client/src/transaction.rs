//! Calls that belong together and go to the same member.

use crate::context::Context;
use crate::error::Error;
use crate::limits::COOKIES_MAX;
use bytes::Bytes;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use http::{HeaderMap, Request, Response};
use std::collections::BTreeMap;
use wire::id::MemberName;

/// Calls that all go to the same member: the first is given to one as any call is, the others follow it for as long as it
/// takes requests, also while it is drained; one that fails there is not made again elsewhere. Cookies that answers set
/// come back with the calls that follow. Through routers it is these that keep the calls together, by the cluster's
/// affinity; a cluster without affinity spreads them.
pub struct Transaction {
    context: Context,
    bound: Option<MemberName>,
    cookies: BTreeMap<String, String>,
}

impl Transaction {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, bound: None, cookies: BTreeMap::new() }
    }

    /// Makes the next call; see `Context::invoke`.
    ///
    /// # Errors
    /// `TransactionLost` when its member takes nothing any more: nothing was sent.
    pub async fn invoke(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        if !self.cookies.is_empty() && !request.headers().contains_key(COOKIE) {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if let Ok(value) = HeaderValue::try_from(pairs.join("; ")) {
                request.headers_mut().insert(COOKIE, value);
            }
        }
        let answer = self.context.shared().invoke(request, Some(&mut self.bound)).await?;
        take_cookies(&mut self.cookies, answer.headers());
        Ok(answer)
    }

    /// The member that has it; None before the first call, and through routers.
    pub fn member(&self) -> Option<&str> {
        self.bound.as_ref().map(|name| name.0.as_str())
    }
}

/// Names and values alone: a transaction is one conversation with one application, and short.
fn take_cookies(cookies: &mut BTreeMap<String, String>, headers: &HeaderMap) {
    for line in headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
        let is_over = parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
        if is_over {
            cookies.remove(name);
        } else if cookies.contains_key(name) || cookies.len() < COOKIES_MAX {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_forgotten_within_bounds() {
        let mut cookies = BTreeMap::new();
        let mut take = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(SET_COOKIE, HeaderValue::from_str(line).expect("a header"));
            }
            take_cookies(&mut cookies, &headers);
            cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(take(&["A=1; Path=/; HttpOnly", "B=x=y", "nonsense"]), "A=1 B=x=y");
        assert_eq!(take(&["A=2"]), "A=2 B=x=y");
        assert_eq!(take(&["B=; Max-Age=0"]), "A=2");
        let many: Vec<String> = (0..100).map(|number| format!("c{number}=1")).collect();
        take(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(cookies.len(), COOKIES_MAX);
    }
}
