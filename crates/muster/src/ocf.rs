//! How a resource agent of the Open Cluster Framework is called: which program, in which environment.
//!
//! A clean environment with the parameters, and the real interval of what is repeated: without it agents take a monitor for a
//! look at what runs already, and answer leniently. Facts: failover 5.2 to 5.4. Used by the resource type and by monitors.
//! Not here: what agents say (see `logic::ocf`), and who waits for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where agents keep marks of what they have started. Empty after each start of the machine.
const MARKS: &str = "/run/resource-agents";

/// One agent with its parameters.
#[derive(Debug)]
pub struct Agent {
    pub program: PathBuf,
    provider: String,
    kind: String,
    root: String,
    instance: String,
    parameters: BTreeMap<String, String>,
    /// What the configuration adds.
    added: BTreeMap<String, String>,
}

/// One call of an agent.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub action: &'a str,
    pub timeout: Duration,
    /// Zero for what is not repeated.
    pub interval: Duration,
    pub level: u32,
}

impl<'a> Call<'a> {
    pub fn once(action: &'a str, timeout: Duration) -> Self {
        Call { action, timeout, interval: Duration::ZERO, level: 0 }
    }
}

/// Provider and name, both fit to be parts of a path.
pub fn split(agent: &str) -> Option<(&str, &str)> {
    let (provider, name) = agent.strip_prefix("ocf:").unwrap_or(agent).split_once(':')?;
    let is_fit = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain)
    };
    (is_fit(provider) && is_fit(name)).then_some((provider, name))
}

/// Makes the directory of marks. Where that fails the agent says so.
pub fn make_directory() {
    let _ = std::fs::create_dir_all(MARKS);
}

/// What reasons of a failure begin with; the name tells those of several agents apart.
pub fn reason_prefix(instance: &str) -> String {
    format!("ocf-exit-reason:{instance}:")
}

impl Agent {
    /// `instance` names what the agent looks after among all that agents of its kind do. An error completes "it ...".
    pub fn new(
        agent: &str,
        instance: &str,
        parameters: &BTreeMap<String, String>,
        added: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let (provider, kind) = split(agent).ok_or_else(|| format!("has no agent: {agent}"))?;
        let root = added.get("OCF_ROOT").map_or("/usr/lib/ocf", String::as_str).to_owned();
        Ok(Self {
            program: Path::new(&root).join("resource.d").join(provider).join(kind),
            provider: provider.to_owned(),
            kind: kind.to_owned(),
            root,
            instance: instance.to_owned(),
            parameters: parameters.clone(),
            added: added.clone(),
        })
    }

    /// All that the agent gets.
    pub fn environment(&self, call: &Call<'_>) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("LANG", "C".to_owned()),
            ("LC_ALL", "C".to_owned()),
            ("OCF_ROOT", self.root.clone()),
            ("OCF_RA_VERSION_MAJOR", "1".to_owned()),
            ("OCF_RA_VERSION_MINOR", "1".to_owned()),
            ("OCF_RESOURCE_INSTANCE", self.instance.clone()),
            ("OCF_RESOURCE_TYPE", self.kind.clone()),
            ("OCF_RESOURCE_PROVIDER", self.provider.clone()),
            ("OCF_CHECK_LEVEL", call.level.to_string()),
            ("OCF_EXIT_REASON_PREFIX", reason_prefix(&self.instance)),
            ("OCF_RESKEY_CRM_meta_name", call.action.to_owned()),
            // Without it, and with 0, a monitor is a look at what runs already, and agents answer leniently.
            ("OCF_RESKEY_CRM_meta_interval", call.interval.as_millis().to_string()),
            ("OCF_RESKEY_CRM_meta_timeout", call.timeout.as_millis().to_string()),
            ("OCF_RESKEY_CRM_meta_on_node", host_name()),
        ]);
        if call.action == "validate-all" {
            all.insert("OCF_OUTPUT_FORMAT", "text".to_owned());
        }
        let mut all: BTreeMap<String, String> =
            all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let parameters = self.parameters.iter();
        all.extend(parameters.map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone())));
        all.extend(self.added.clone());
        all
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
