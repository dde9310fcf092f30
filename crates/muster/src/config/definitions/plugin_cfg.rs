//! Keys of the plugin-cfg.xml that a router keeps for web servers in front of it.

use super::super::definition::{Definition, Preset};
use super::super::kind::{Form, Kind};
use super::{HOUR_MS, integer, key};

pub const PLUGIN_CFG: &[Definition] = &[
    key(
        "path",
        Kind::Text(Form::AbsolutePath),
        Preset::Required,
        "\"/var/lib/muster/plugin-cfg.xml\"",
        "The file. Its directory must exist and the router must be allowed to write in it.",
    ),
    key(
        "scope",
        Kind::Choice(&["none", "all", "cell", "node", "server"]),
        Preset::Text("cell"),
        "\"node\"",
        "Which routers it lists: `all` that are known, those of the `cell`, those of the same `node`, or this one \
         alone (`server`). `none` writes no file and leaves one that is there.",
    ),
    key(
        "change_script",
        Kind::List { of: Form::Word, least: 0, most: 64 },
        Preset::EmptyList,
        "[\"/usr/local/bin/send-to-dmz\", \"web1\"]",
        "Program and arguments, run after the file changed in more than comments; `MUSTER_PLUGIN_CFG` in its \
         environment is the file's path. Its output goes to the log.",
    ),
    integer(
        "change_script_ms",
        100,
        HOUR_MS,
        60_000,
        "10000",
        "Longest time for the program; then it is killed and the log says so.",
    ),
];
