//! Two hosts that hear each other until the end of input, in a directory that is named: `hosts DIRECTORY`.

use lab::hosts::Hosts;
use std::io::Read;
use std::path::Path;

fn main() -> lab::Outcome<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| panic!("which directory?"));
    let hosts = Hosts::new(Path::new(&directory), &["one", "two"], Path::new("/bin/true"), true)?;
    hosts.must("one", "ping -c 1 -W 5 10.0.0.2")?;
    hosts.start("two", "sleep", "sleep 1000")?;
    println!("ready");
    // An error ends the lab as well.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}
