//! The script templates of ExpressCluster's guide as they stand there, and the real daemons that they start: nginx and Postfix,
//! each with files of its own on every host.

use super::Scratch;
use super::hosts::Hosts;
use std::os::unix::fs::PermissionsExt as _;

/// A template: what is done is between a time stamp and the end of each branch.
fn template(name: &str, act: &str) -> String {
    let branch = |word: &str, number: u8, event: &str| {
        format!(
            "if [ \"$CLP_DISK\" = \"SUCCESS\" ]\nthen\n  echo \"{word}1\"\n  if [ \"$CLP_SERVER\" = \"HOME\" ]\n  then\n    \
             echo \"{word}2\"\n  else\n    echo \"ON_OTHER{number}\"\n  fi\n  date +\"%Y/%m/%d %T\"\n{act}else\n  \
             echo \"ERROR_DISK from {event}\"\nfi\n"
        )
    };
    format!(
        "#! /bin/sh\n#***********\n#*  {name}\n#***********\nif [ \"$CLP_EVENT\" = \"START\" ]\nthen\n{}\
         elif [ \"$CLP_EVENT\" = \"FAILOVER\" ]\nthen\n{}else\n  echo \"NO_CLP\"\nfi\necho \"EXIT\"\nexit 0\n",
        branch("NORMAL", 1, "START"),
        branch("FAILOVER", 2, "FAILOVER")
    )
}

/// What is monitored, in the words of the guide.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub group: &'static str,
    daemon: &'static str,
    pub command: &'static str,
    pub identifier: &'static str,
    pub kind: &'static str,
}

pub const HTTP: Case = Case {
    group: "web",
    daemon: "/etc/init.d/httpd",
    command: "clp_httpmon",
    identifier: "httpwatch",
    kind: "clp-httpmon",
};
pub const SMTP: Case = Case {
    group: "mail",
    daemon: "/etc/init.d/sendmail",
    command: "clp_smtpmon",
    identifier: "smtpwatch",
    kind: "clp-smtpmon",
};

impl Case {
    /// The four scripts of the guide for it.
    pub fn write_scripts(&self, scratch: &Scratch) {
        let Self { daemon, command, identifier, .. } = self;
        for (file, act) in [
            ("app-start.sh", format!("  echo \"`{daemon} start`\"\n")),
            ("app-stop.sh", format!("  echo \"`{daemon} stop`\"\n")),
            ("mon-start.sh", format!("  echo \"{command} start\"\n  {command} {identifier}\n")),
            ("mon-stop.sh", format!("  echo \"{command} stop\"\n  {command} {identifier} --stop\n")),
        ] {
            let name = if file.ends_with("start.sh") { "start.sh" } else { "stop.sh" };
            let path = scratch.write(&format!("{}-{file}", self.group), &template(name, &act));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
    }

    /// Where one of its scripts is.
    pub fn script(&self, scratch: &Scratch, name: &str) -> String {
        scratch.join(&format!("{}-{name}", self.group)).display().to_string()
    }

    /// The daemon of a host and how it is started, after `furnish`.
    pub fn install(&self, hosts: &Hosts, host: &str) {
        let home = hosts.home(host).display().to_string();
        let daemon = match self.group {
            "web" => {
                hosts.write(
                    host,
                    "nginx.conf",
                    &format!(
                        "pid {home}/nginx.pid;\nerror_log {home}/nginx.log;\nworker_processes 1;\nevents {{ }}\nhttp {{\n\
                         access_log off;\nclient_body_temp_path {home}/body;\nproxy_temp_path {home}/proxy;\n\
                         fastcgi_temp_path {home}/fastcgi;\nuwsgi_temp_path {home}/uwsgi;\nscgi_temp_path {home}/scgi;\n\
                         server {{ listen 127.0.0.1:80; return 200 \"ok\"; }}\n}}\n"
                    ),
                );
                let nginx = format!("nginx -p {home} -c {home}/nginx.conf -e {home}/nginx.log");
                format!(
                    "#!/bin/sh\ncase $1 in start) {nginx};; stop) {nginx} -s stop;; esac\necho \"$1: $?\"\n"
                )
            }
            _ => {
                for directory in ["conf", "queue", "data"] {
                    let path = hosts.home(host).join(directory);
                    std::fs::create_dir_all(&path).expect("the test's directory can be written");
                }
                hosts.write(host, "conf/main.cf", &main_cf(&home));
                hosts.write(host, "conf/master.cf", MASTER_CF);
                let postfix = format!("postfix -c {home}/conf");
                format!("#!/bin/sh\n{postfix} $1 >{home}/postfix.log 2>&1\necho \"$1: $?\"\n")
            }
        };
        hosts.write(host, &format!("daemon-{}", self.group), &daemon);
        let said = hosts.shell(
            host,
            &format!(
                "set -e; [ ! -d {home}/data ] || chown postfix {home}/data; cp {home}/daemon-{} {}; chmod 755 {}",
                self.group, self.daemon, self.daemon
            ),
        );
        assert_eq!(said.code, Some(0), "{said:?}");
    }
}

/// Puts `/etc/init.d` of a host's own in place, and the names of the commands where scripts find them.
pub fn furnish(hosts: &Hosts, host: &str) {
    let home = hosts.home(host).display().to_string();
    let said = hosts.shell(
        host,
        &format!(
            "set -e; chmod 755 {home}; mount -t tmpfs none /etc/init.d; mount -t tmpfs none /usr/local/sbin; \
             mkdir -p /run/muster; mount -t tmpfs none /run/muster; muster install-names /usr/local/sbin"
        ),
    );
    assert_eq!(said.code, Some(0), "{said:?}");
}

fn main_cf(home: &str) -> String {
    format!(
        "compatibility_level = 3.6\nqueue_directory = {home}/queue\ndata_directory = {home}/data\n\
         command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\ninet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\nmyhostname = mail.test\nmydestination =\nalias_maps =\nlocal_recipient_maps =\n\
         maillog_file = {home}/maillog\nmaillog_file_prefixes = /\n"
    )
}

const MASTER_CF: &str = "\
127.0.0.1:25 inet n - n - - smtpd
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
postlog unix-dgram n - n - 1 postlogd
";
