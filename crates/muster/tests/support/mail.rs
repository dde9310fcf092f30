//! A real Postfix with files of its own in a test's directory, that takes mail for nobody.

use super::{Running, Scratch, free_address, program, wait_until_listening};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian keeps Postfix's own programs.
const DAEMONS: &str = "/usr/lib/postfix/sbin";

#[derive(Debug)]
pub struct Postfix {
    pub address: SocketAddr,
    pub process: Running,
}

/// Starts a mail server and waits until it listens. `tls` are the files of its certificate and key, with which it offers
/// STARTTLS.
pub fn start(scratch: &Scratch, tls: Option<(&Path, &Path)>) -> Postfix {
    let address = free_address();
    let directory = scratch.join("postfix");
    for name in ["", "conf", "queue", "data"] {
        let path = directory.join(name);
        fs::create_dir_all(&path).expect("the test's directory can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let chown = Command::new("chown").arg("postfix").arg(directory.join("data")).status();
    assert!(chown.is_ok_and(|status| status.success()), "the user postfix is there, and this runs as root");
    fs::write(directory.join("conf/main.cf"), main_cf(&directory, tls)).expect("it can be written");
    fs::write(directory.join("conf/master.cf"), master_cf(address)).expect("it can be written");
    let conf = directory.join("conf");
    let checked = Command::new(program("postfix")).arg("-c").arg(&conf).arg("check").output();
    let checked = checked.expect("postfix was found");
    assert!(checked.status.success(), "postfix check: {checked:?}");
    let mut command = Command::new(PathBuf::from(DAEMONS).join("master"));
    command.arg("-c").arg(&conf).arg("-d");
    let mut process = Running::start("postfix", &mut command, &scratch.join("postfix.log"));
    wait_until_listening(address, &mut process);
    Postfix { address, process }
}

fn main_cf(directory: &Path, tls: Option<(&Path, &Path)>) -> String {
    let directory = directory.display();
    let tls = match tls {
        None => "smtpd_tls_security_level = none\n".to_owned(),
        Some((certificate, key)) => format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
            certificate.display(),
            key.display()
        ),
    };
    format!(
        "compatibility_level = 3.6\nqueue_directory = {directory}/queue\ndata_directory = {directory}/data\n\
         command_directory = /usr/sbin\ndaemon_directory = {DAEMONS}\ninet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\nmyhostname = mail.test\nmydestination =\nalias_maps =\n\
         local_recipient_maps =\n{tls}"
    )
}

fn master_cf(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd\nanvil unix - - n - 1 anvil\nrewrite unix - - n - - trivial-rewrite\n\
         cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\n"
    )
}
