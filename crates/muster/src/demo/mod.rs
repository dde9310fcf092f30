//! A cell on this machine to look at: one manager, one agent, one router, and cluster `shop` of three members that
//! are this binary's own sample application. All its files live in a temporary directory.
//!
//! Not here: starting roles (see `roles`), and how the demo tries itself (see `check`).

pub mod check;
pub mod load;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Members of cluster `shop` at the start.
pub const MEMBERS: [&str; 3] = ["shop-1", "shop-2", "shop-3"];

/// The demo's directory; removed when dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes a directory that only this user can read, and removes those of demos that were killed.
    pub fn make() -> io::Result<Self> {
        let parent = std::env::temp_dir();
        remove_left_over(&parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the demo's directory was not removed");
        }
    }
}

const PREFIX: &str = "muster-demo-";

/// A demo that was killed cannot clear up; its number tells whether it still runs.
fn remove_left_over(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(PREFIX).and_then(|number| number.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{process}")).exists()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(path = %entry.path().display(), %error, "what an earlier demo left stays");
        }
    }
}

/// The wanted port, or any free one where that is taken.
pub fn free_address(wanted: u16) -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted));
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

/// What the demo's cell looks like.
#[derive(Debug, Clone)]
pub struct Plan {
    pub router: SocketAddr,
    pub console: SocketAddr,
    /// Members of `shop` with their weights.
    pub members: Vec<(String, u32)>,
}

impl Plan {
    /// The configuration as a file would have it. One router thread, so that members answer strictly in turn. The machine that
    /// it runs on is nobody's to reboot from here.
    pub fn configuration(&self, state_dir: &Path, program: &Path) -> String {
        let mut text = format!(
            "[cell]\nname = \"demo\"\nstate_dir = {state_dir}\n\n[console]\nlisten = \"{console}\"\n\n\
             [nodes.local]\nreboot_command = {refusal}\nshutdown_command = {refusal}\n\n\
             [routers.front]\nlisten = [\"{router}\"]\nthreads = 1\n\n\
             [clusters.shop]\npolicy = \"round-robin\"\ndrain_ms = 2000\n\n[clusters.shop.affinity]\ncookie = \"JSESSIONID\"\n\n\
             [clusters.shop.probe]\npath = \"/healthz\"\ninterval_ms = 200\ntimeout_ms = 1000\n\n\
             [clusters.shop.defaults]\ncommand = [{program}, \"sample-app\"]\nport = 0\n\
             environment = {{ PORT = \"{{port}}\" }}\n",
            state_dir = quoted(state_dir),
            program = quoted(program),
            console = self.console,
            refusal = "[\"sh\", \"-c\", \"echo a demo does not end its machine; exit 1\"]",
            router = self.router,
        );
        for (name, weight) in &self.members {
            text += &format!("\n[clusters.shop.members.{name}]\nweight = {weight}\n");
        }
        text
    }
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    let escaped = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_a_right_configuration() {
        let plan = Plan {
            router: free_address(0),
            console: free_address(0),
            members: MEMBERS.iter().map(|name| ((*name).to_owned(), 2)).collect(),
        };
        let text = plan.configuration(Path::new("/tmp/de\"mo"), Path::new("/bin/mus ter"));
        let settings = crate::config::parse(&text, "demo").expect("right");
        assert_eq!(settings.clusters[0].members.len(), 3);
        assert_eq!(settings.state_dir, "/tmp/de\"mo");
    }
}
