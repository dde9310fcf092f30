//! Keys of the machines of a cell.

use super::key;
use crate::config::definition::{Definition, Preset};
use crate::config::kind::{Form, Kind};

pub const NODE: &[Definition] = &[
    key(
        "address",
        Kind::Text(Form::IpAddress),
        Preset::Else("none: 127.0.0.1"),
        "\"10.0.0.2\"",
        "Where other machines reach this one. Members that its agent starts are probed and reached at this address, so they \
         must listen on it; it stands for `{address}` in their command and environment.",
    ),
    key(
        "reboot_command",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("`systemctl reboot`"),
        "[\"/sbin/reboot\"]",
        "Program and arguments that reboot this machine, run on it with the rights of `muster` by `muster node reboot` and the \
         console, once all groups there have ended. It must end with 0 within 30 seconds; otherwise the node goes on.",
    ),
    key(
        "shutdown_command",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("`systemctl poweroff`"),
        "[\"/sbin/poweroff\"]",
        "The same for `muster node shutdown`.",
    ),
];
