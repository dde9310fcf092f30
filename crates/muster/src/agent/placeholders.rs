//! Puts a member's port and names into its command and environment.

use std::net::IpAddr;
use wire::id::MemberId;

/// What the placeholders stand for.
#[derive(Debug)]
pub struct Values<'a> {
    pub id: &'a MemberId,
    pub clone_id: &'a str,
    pub port: u16,
    pub address: IpAddr,
}

impl Values<'_> {
    /// Replaces `{port}`, `{address}`, `{member}`, `{cluster}` and `{clone_id}` in one pass; other braces stay as they are.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            filled.push_str(&rest[..open]);
            rest = &rest[open..];
            let known = self.all().into_iter().find(|(name, _)| rest.starts_with(name));
            let (placeholder, value) = known.unwrap_or(("{", "{".into()));
            filled.push_str(&value);
            rest = &rest[placeholder.len()..];
        }
        filled.push_str(rest);
        filled
    }

    /// Environment that every member gets.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("PORT", self.port.to_string()),
            ("MUSTER_ADDRESS", self.address.to_string()),
            ("MUSTER_MEMBER", self.id.member.0.clone()),
            ("MUSTER_CLUSTER", self.id.cluster.0.clone()),
            ("MUSTER_CLONE_ID", self.clone_id.to_owned()),
        ]
    }

    fn all(&self) -> [(&'static str, String); 5] {
        [
            ("{port}", self.port.to_string()),
            ("{address}", self.address.to_string()),
            ("{member}", self.id.member.0.clone()),
            ("{cluster}", self.id.cluster.0.clone()),
            ("{clone_id}", self.clone_id.to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_stay() {
        let id = MemberId::new("shop", "{port}");
        let values = Values { id: &id, clone_id: "c1", port: 8080, address: [10, 0, 0, 2].into() };
        let filled =
            values.fill("--listen={address}:{port} {member}@{cluster}:{clone_id} {json: {}} ${HOME} {");
        assert_eq!(filled, "--listen=10.0.0.2:8080 {port}@shop:c1 {json: {}} ${HOME} {");
    }
}
