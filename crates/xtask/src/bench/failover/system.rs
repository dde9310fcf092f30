//! The systems that are compared.

use std::net::Ipv4Addr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    Muster,
    /// With one advertisement a second, which is its default.
    Keepalived,
    /// With ten a second.
    KeepalivedQuick,
    /// With Corosync's defaults, and without fencing.
    Pacemaker,
}

pub const SYSTEMS: [System; 4] =
    [System::Muster, System::Keepalived, System::KeepalivedQuick, System::Pacemaker];

impl System {
    pub fn text(self) -> &'static str {
        match self {
            System::Muster => "Muster, profile fast",
            System::Keepalived => "keepalived, 1 s",
            System::KeepalivedQuick => "keepalived, 0.1 s",
            System::Pacemaker => "Pacemaker, no fencing",
        }
    }

    /// The address that it has on one host at a time.
    pub fn address(self) -> Ipv4Addr {
        let last = match self {
            System::Muster => 100,
            System::Keepalived => 101,
            System::KeepalivedQuick => 102,
            System::Pacemaker => 103,
        };
        Ipv4Addr::new(10, 1, 0, last)
    }
}
