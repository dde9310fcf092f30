//! Looks a user up in /etc/passwd and /etc/group.
//!
//! Users that only a directory service knows are not found: give their number instead of a name, and the number's
//! entry is used if there is one, else the number alone, also as its group.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Nothing was changed; a retry helps once the user is there.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no user {0} in /etc/passwd")]
    Unknown(String),
    #[error("cannot read /etc/passwd: {0}")]
    Unreadable(std::io::Error),
}

pub fn find(user: &str) -> Result<Account, AccountError> {
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(AccountError::Unreadable)?;
    // Without it there are no supplementary groups, which is less and not more than the user has.
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    parse(user, &passwd, &group).ok_or_else(|| AccountError::Unknown(user.to_owned()))
}

fn parse(user: &str, passwd: &str, group: &str) -> Option<Account> {
    let number: Option<u32> = user.parse().ok();
    let known = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        let is_meant = name == user || number == Some(uid);
        is_meant.then(|| Account { name: name.into(), uid, gid, groups: Vec::new(), home: home.into() })
    });
    let alone =
        |number| Account { name: user.into(), uid: number, gid: number, groups: vec![], home: "/".into() };
    let mut account = known.or_else(|| number.map(alone))?;
    account.groups = group
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members] = fields[..] else { return None };
            members.split(',').any(|member| member == account.name).then(|| gid.parse().ok())?
        })
        .collect();
    Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nshop:x:1001:1002:,,,:/srv/shop:/bin/false\n";
    const GROUP: &str = "root:x:0:\nssl-cert:x:110:other,shop\nshopping:x:111:shopping\n";

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let shop = Account {
            name: "shop".into(),
            uid: 1001,
            gid: 1002,
            groups: vec![110],
            home: "/srv/shop".into(),
        };
        assert_eq!(parse("shop", PASSWD, GROUP), Some(shop.clone()));
        assert_eq!(parse("1001", PASSWD, GROUP), Some(shop));
    }

    #[test]
    fn a_number_without_an_entry_is_taken_as_it_is() {
        let account = parse("4711", PASSWD, GROUP).map(|account| (account.uid, account.gid, account.groups));
        assert_eq!(account, Some((4711, 4711, vec![])));
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert_eq!(parse("nobody-here", PASSWD, GROUP), None);
    }
}
