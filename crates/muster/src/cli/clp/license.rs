//! `clplcnsc`: answers that no licence is needed.

use super::common::wrong_use;
use super::words::{Flag, one_of, perhaps, plain, take, valued};
use crate::cli::{Exit, print};

const HELP: &str = "\
clplcnsc: licences, of which Muster needs none. Nothing is read, asked or kept.

  clplcnsc -i [FILE] -p PRODUCT   would register one
  clplcnsc -l [-p PRODUCT]        would list them
  clplcnsc -d [SERIAL] -p PRODUCT would delete one
  clplcnsc -c -p PRODUCT          would check one

Examples:
  clplcnsc -i license.key -p ISAG10
  clplcnsc -l -p ISAG10

Exit codes: 0 always, but for wrong use (2).
";

const FLAGS: &[Flag] =
    &[perhaps("-i"), plain("-l"), perhaps("-d"), plain("-c"), valued("-p"), plain("-a"), plain("-ID")];

pub fn clplcnsc(words: &[String]) -> Exit {
    let words = match take(FLAGS, words) {
        Ok(words) if words.has("--help") => return print(HELP.as_bytes()),
        Ok(words) => words,
        Err(why) => return wrong_use("clplcnsc", &why),
    };
    let act = match one_of(&words, &["-i", "-l", "-d", "-c"]) {
        Ok(act) => act,
        Err(why) => return wrong_use("clplcnsc", &why),
    };
    let said = match act {
        "-i" => "nothing was registered",
        "-d" => "nothing was deleted",
        _ => "there is none",
    };
    print(format!("Command succeeded.\nMuster needs no licence: {said}.\n").as_bytes())
}
