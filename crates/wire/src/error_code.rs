//! The stable code of each error that a user can see. Each has a page `docs/errors/<code>.md`; tidy holds that.
//!
//! Ranges: M1xxx configuration, M2xxx command line and cell, M3xxx members, M4xxx requests through the router,
//! M5xxx store and disk. A code keeps its meaning for ever; one that is no longer used is not given again.

use serde::{Serialize, Serializer};

/// An error's code, e.g. `M1001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub &'static str);

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(self.0)
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl ErrorCode {
    /// What went wrong, in a few words; also the title of the code's page.
    pub fn title(self) -> &'static str {
        ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, title)| title)
    }
}

// Constants and their table from one list: a function cannot make constants, and two lists would drift apart.
macro_rules! codes {
    ($($name:ident $code:literal $title:literal,)*) => {
        $(#[doc = $title] pub const $name: ErrorCode = ErrorCode($code);)*

        /// Every code with its title, in order.
        pub const ALL: &[(ErrorCode, &str)] = &[$(($name, $title),)*];
    };
}

codes! {
    CONFIG_SYNTAX "M1001" "The configuration is not valid TOML",
    CONFIG_UNKNOWN_KEY "M1002" "The configuration has a key that does not exist",
    CONFIG_WRONG_TYPE "M1003" "A value has the wrong type",
    CONFIG_NOT_ALLOWED "M1004" "A value is not allowed",
    CONFIG_DUPLICATE "M1005" "Something is given twice",
    CONFIG_MISSING "M1006" "A needed key or table is missing",
    CONFIG_UNKNOWN_NAME "M1007" "A value names something that is not in the file",
    CONFIG_CONTRADICTION "M1008" "Keys contradict each other, or one has no effect",
    CONFIG_UNREADABLE "M1009" "The configuration file cannot be read",
    ADDRESS_IN_USE "M1010" "An address cannot be listened on",
    COMMAND_NOT_FOUND "M1011" "A member's command cannot be run",
    DIRECTORY_NOT_USABLE "M1012" "A directory is missing or cannot be used",
    USER_NOT_USABLE "M1013" "A member's user does not exist or may not be used",
    STATE_DIRECTORY_NOT_USABLE "M1014" "The state directory cannot be used",
    TLS_FILE_NOT_USABLE "M1030" "A certificate, key or list of authorities cannot be used",
    KEY_OF_ANOTHER_CERTIFICATE "M1031" "A key does not belong to its certificate",
    CERTIFICATE_NOT_VALID_NOW "M1032" "A certificate is not valid now",
    CERTIFICATE_EXPIRES "M1033" "A certificate expires soon",
    RESOURCE_NOT_USABLE "M1040" "This machine lacks what a resource of a group needs",
    RESTARTS_NEVER_USED_UP "M1043" "Restarts would be forgotten before they are used up",
    CELL_NOT_REACHED "M2001" "The cell cannot be reached",
    NOT_LOGGED_IN "M2002" "Not logged in, or the token is wrong",
    NO_SUCH_CLUSTER "M2003" "There is no such cluster",
    NO_SUCH_MEMBER "M2004" "There is no such member",
    ACT_MAKES_NO_SENSE "M2005" "This cannot be done in the present state",
    NO_SUCH_NODE "M2006" "There is no such node",
    STATE_DIRECTORY_IN_USE "M2007" "Another process uses the state directory",
    NO_SUCH_REVISION "M2008" "The history has no such configuration",
    CONFIG_MOVED_ON "M2009" "The configuration is no longer the revision that was meant",
    NO_SUCH_MONITOR "M2010" "There is no such monitor",
    NO_SUCH_GROUP "M2011" "There is no such group",
    IMPORT_FAILED "M2016" "A configuration of another product cannot be read",
    CHANGE_FROM_ELSEWHERE "M2020" "A change did not come from a page of this console",
    TOO_MANY_WRONG_TOKENS "M2021" "Too many wrong tokens came from one address",
    CALL_MALFORMED "M2022" "A call of the API was not understood",
    CALL_TOO_LARGE "M2023" "The body of a call is too large",
    NO_SUCH_CALL "M2024" "There is no such call",
    MANAGER_UNAVAILABLE "M2025" "The manager does not answer",
    TOO_MANY_STREAMS "M2026" "Too many streams of events are open",
    CONSOLE_FAILED "M2027" "The console failed at its own work",
    NO_SUCH_FENCE "M2028" "There is no such fence",
    NOT_FENCED "M2029" "The node cannot be switched off by a fence",
    NODE_POWER_UNCONFIRMED "M2035" "Something would be without a node",
    AGENT_TOO_OLD_FOR_POWER "M2036" "The agent of a node cannot reboot or shut down its machine",
    IN_NO_CELL "M2040" "This machine is in no cell",
    IN_A_CELL_ALREADY "M2041" "This machine is in a cell already",
    TOKEN_MALFORMED "M2042" "A join token is malformed",
    TOKEN_NOT_USABLE "M2043" "A join token is unknown, used or expired",
    OTHER_CELL "M2044" "What answers is not a manager of this cell",
    VERSIONS_DO_NOT_FIT "M2045" "Two versions of Muster do not fit together",
    NODE_REFUSED "M2046" "The manager refuses this node",
    IDENTITY_NOT_USABLE "M2047" "The certificate of this machine cannot be used",
    NOT_SEVERAL_MACHINES "M2048" "The cell is only one machine",
    ROLE_NOT_ENOUGH "M2060" "The role does not allow this",
    NO_SUCH_ACCOUNT "M2061" "There is no such user or token",
    PASSWORD_NOT_TAKEN "M2062" "A password is not taken",
    USER_LOCKED "M2063" "Too many wrong passwords were tried for one user",
    TOO_MANY_LOGINS "M2064" "Too many logins at a time",
    TOKEN_EXPIRED "M2065" "A token for the API has expired",
    BRIDGE_REFUSED "M2070" "Another cell refuses to tell of itself",
    BRIDGE_TOKEN_NOT_USABLE "M2071" "The token for another cell cannot be used",
    CELL_QUARANTINED "M2072" "Another cell sends what cannot be believed",
    MEMBER_START_FAILED "M3001" "A member could not be started",
    MEMBER_GAVE_UP "M3002" "A member failed too often and is not started again",
    MEMBER_PROBE_FAILING "M3003" "A member does not pass its probe",
    MEMBER_EXITED "M3004" "A member's process ended by itself",
    BAD_REQUEST "M4001" "The request is malformed",
    NO_ROUTE "M4002" "No route leads to a cluster",
    NO_MEMBER_AVAILABLE "M4003" "No member takes requests",
    MEMBER_FAILED "M4004" "The member failed while it had the request",
    MEMBER_TIMED_OUT "M4005" "The member did not answer in time",
    BODY_TOO_LARGE "M4006" "The request's body is too large",
    HEAD_TOO_LARGE "M4007" "The request's head is too large",
    REQUEST_TIMED_OUT "M4008" "The request did not arrive in time",
    TOO_MANY_CONNECTIONS "M4009" "The router has too many connections",
    NOT_SUPPORTED "M4010" "The router does not support this kind of request",
    EXPECTATION_FAILED "M4011" "The request expects something that the router does not know",
    CLIENT_GONE "M4012" "The client went away before its answer",
    ROUTER_AT_FAULT "M4013" "The router broke a promise of its own",
    RATE_LIMITED "M4014" "A caller makes more requests than it may",
    NOT_A_CLIENT "M4015" "The views of clusters are for clients with a token",
    TOO_MANY_FETCHES "M4016" "Too many clients fetch whole views at once",
    WRONG_HOST_FOR_CONNECTION "M4020" "The request is for a host of another certificate",
    STORE_DAMAGED "M5001" "The store is damaged",
    STORE_WRITE_FAILED "M5002" "The store cannot be written",
    STORE_WRITE_UNCERTAIN "M5003" "Whether the store was written is unknown",
    STORE_NOT_REACHED "M5004" "The servers of the store cannot be used",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_each_is_given_once() {
        for pair in ALL.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} stands before {}", pair[0].0, pair[1].0);
        }
    }

    #[test]
    fn each_code_has_a_page_that_starts_with_its_title() {
        let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for (code, title) in ALL {
            let page = pages.join(format!("{code}.md"));
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(text.starts_with(&format!("# {code}: {title}\n")), "{}", page.display());
        }
        let count = std::fs::read_dir(&pages).expect("docs/errors is part of the project").count();
        assert_eq!(count, ALL.len(), "a page without a code, or the other way round");
    }
}
