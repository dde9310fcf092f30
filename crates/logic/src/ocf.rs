//! What OCF resource agents say: their description, and what the status of each of their actions means.
//!
//! Pure. Facts: failover 5.2 and 5.3. Not here: how an agent is called (see `resource::ocf` of the binary).

use crate::monitor::Answer;
use crate::monitor::line::readable;
use std::collections::BTreeMap;

/// Parts of a description that are read. 20,000: the longest known has a tenth of that.
const NODES_MAX: u32 = 20_000;
/// When an agent names none.
const TIMEOUT_MS: u64 = 20_000;
const INTERVAL_MS: u64 = 10_000;
/// Shortest pause between two calls of a monitor, whatever the agent says: each is a shell that starts a dozen programs.
const INTERVAL_MIN_MS: u64 = 1_000;

/// How an agent describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    pub parameters: Vec<Parameter>,
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub is_required: bool,
    /// `string`, `integer`, `boolean` or `select`.
    pub kind: String,
    /// Of `select`.
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub name: String,
    pub timeout_ms: u64,
    /// Of monitors.
    pub interval_ms: u64,
    /// How thorough a monitor is: 0, 10 or 20.
    pub depth: u32,
    /// Monitors of some roles only are for agents that have several.
    pub role: Option<String>,
}

/// Why a description is of no use. Nothing was done; another call may give a better one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    #[error("its description is no XML: {0}")]
    NoXml(String),
    #[error("its description is of something else than a resource agent")]
    NoAgent,
}

impl Description {
    pub fn parse(text: &str) -> Result<Self, DescriptionError> {
        let options =
            roxmltree::ParsingOptions { allow_dtd: true, nodes_limit: NODES_MAX, ..Default::default() };
        let document = roxmltree::Document::parse_with_options(text.trim_start(), options)
            .map_err(|error| DescriptionError::NoXml(error.to_string()))?;
        let root = document.root_element();
        if root.tag_name().name() != "resource-agent" {
            return Err(DescriptionError::NoAgent);
        }
        let named = |name: &'static str| root.descendants().filter(move |node| node.has_tag_name(name));
        Ok(Self {
            parameters: named("parameter").filter_map(parameter).collect(),
            actions: named("action").filter_map(action).collect(),
        })
    }

    pub fn action(&self, name: &str) -> Option<&Action> {
        self.actions.iter().find(|action| action.name == name)
    }

    /// How long an action may take.
    pub fn timeout_ms(&self, name: &str) -> u64 {
        self.action(name).map_or(TIMEOUT_MS, |action| action.timeout_ms)
    }

    /// The monitors of these depths and below, one of each depth; always one of depth 0.
    pub fn monitors(&self, depth_max: u32) -> Vec<Action> {
        let mut monitors: BTreeMap<u32, Action> = BTreeMap::new();
        let own = self.actions.iter().filter(|action| action.name == "monitor" && action.depth <= depth_max);
        let fits = |action: &&Action| {
            let role = action.role.as_deref().unwrap_or("Started").to_ascii_lowercase();
            matches!(role.as_str(), "started" | "slave" | "unpromoted")
        };
        for action in own.filter(fits) {
            monitors.entry(action.depth).or_insert_with(|| action.clone());
        }
        monitors.entry(0).or_insert_with(|| Action {
            name: "monitor".to_owned(),
            timeout_ms: TIMEOUT_MS,
            interval_ms: INTERVAL_MS,
            depth: 0,
            role: None,
        });
        monitors.into_values().collect()
    }

    /// What is wrong with parameters of the configuration, as sentences.
    pub fn wrong(&self, given: &BTreeMap<String, String>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, value) in given {
            match self.parameters.iter().find(|parameter| parameter.name == *name) {
                Some(parameter) => wrong.extend(parameter.wrong(value)),
                None => {
                    let known: Vec<&str> =
                        self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
                    wrong.push(format!("the agent has no parameter `{name}`; it has {}", known.join(", ")));
                }
            }
        }
        let missing =
            self.parameters.iter().filter(|known| known.is_required && !given.contains_key(&known.name));
        wrong.extend(missing.map(|known| format!("the agent needs the parameter `{}`", known.name)));
        wrong
    }
}

impl Parameter {
    fn wrong(&self, value: &str) -> Option<String> {
        let name = &self.name;
        let is_boolean = |value: &str| {
            let words = ["true", "false", "yes", "no", "on", "off", "1", "0", "y", "n", "ja"];
            words.contains(&value.to_ascii_lowercase().as_str())
        };
        match self.kind.as_str() {
            "integer" if value.parse::<i64>().is_err() => {
                Some(format!("the parameter `{name}` must be an integer, not `{value}`"))
            }
            "boolean" if !is_boolean(value) => {
                Some(format!("the parameter `{name}` must be true or false, not `{value}`"))
            }
            "select" if !self.values.is_empty() && !self.values.iter().any(|known| known == value) => {
                let values = self.values.join(", ");
                Some(format!("the parameter `{name}` must be one of {values}, not `{value}`"))
            }
            _ => None,
        }
    }
}

fn parameter(node: roxmltree::Node<'_, '_>) -> Option<Parameter> {
    let content = node.children().find(|child| child.has_tag_name("content"));
    let options = content.into_iter().flat_map(|content| content.children());
    let options = options.filter(|child| child.has_tag_name("option"));
    Some(Parameter {
        name: node.attribute("name")?.to_owned(),
        is_required: matches!(node.attribute("required"), Some("1" | "true" | "yes")),
        kind: content.and_then(|content| content.attribute("type")).unwrap_or("string").to_owned(),
        values: options.filter_map(|option| option.attribute("value").map(str::to_owned)).collect(),
    })
}

fn action(node: roxmltree::Node<'_, '_>) -> Option<Action> {
    let time = |name: &str| node.attribute(name).and_then(duration_ms).filter(|time| *time > 0);
    Some(Action {
        name: node.attribute("name")?.to_owned(),
        timeout_ms: time("timeout").unwrap_or(TIMEOUT_MS),
        interval_ms: time("interval").unwrap_or(INTERVAL_MS).max(INTERVAL_MIN_MS),
        depth: node.attribute("depth").and_then(|depth| depth.trim().parse().ok()).unwrap_or(0),
        role: node.attribute("role").map(str::to_owned),
    })
}

/// `20`, `20s`, `500ms`, `2min`: seconds where nothing else is said.
fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match text[digits..].trim() {
        "" | "s" | "sec" => 1_000,
        "ms" | "msec" => 1,
        "m" | "min" => 60_000,
        "h" | "hr" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms)
}

/// What the end of a recurring monitor says of what the agent looks after. `status`: None if a signal ended it; `prefix`: what
/// the reason begins with among what it said.
pub fn judge(status: Option<i32>, said: &[u8], prefix: &str) -> Answer {
    let Some(status) = status else { return Answer::bad("its agent was ended by a signal") };
    let said = String::from_utf8_lossy(said);
    let reason = said.lines().rev().find_map(|line| line.strip_prefix(prefix)).map(str::trim);
    let why = || match reason {
        Some(reason) => format!("it {} (status {status}): {}", meaning(status), readable(reason.as_bytes())),
        None => format!("it {} (status {status})", meaning(status)),
    };
    match status {
        // Which of its roles it has is not what is asked.
        0 | 8 => Answer::good(),
        190 | 191 => Answer::Good { warning: Some(why()), figures: Vec::new() },
        _ => Answer::Bad { why: why() },
    }
}

/// What the status of an action means, in words that complete "it ...".
pub fn meaning(code: i32) -> &'static str {
    match code {
        0 => "runs",
        1 => "failed",
        2 => "does not take its parameters on this machine",
        3 => "does not know this action",
        4 => "may not do this: it needs more rights",
        5 => "is not installed here, or something that it needs",
        6 => "is not configured rightly",
        7 => "does not run",
        8 => "runs promoted, which nobody asked for",
        9 => "failed while it was promoted",
        190 => "runs, but not as well as it should",
        191 => "runs promoted, but not as well as it should",
        _ => "ended with a status that has no meaning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = r#"
<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="Thing" version="1.0">
<version>1.0</version>
<longdesc lang="en">A thing.</longdesc>
<parameters>
<parameter name="ip" unique="1" required="1"><content type="string"/></parameter>
<parameter name="port"><content type="integer" default="80"/></parameter>
<parameter name="quiet"><content type="boolean" default="false"/></parameter>
<parameter name="mode"><content type="select"><option value="a"/><option value="b"/></content></parameter>
</parameters>
<actions>
<action name="start" timeout="2min"/>
<action name="stop" timeout="20"/>
<action name="monitor" depth="0" timeout="20s" interval="10s"/>
<action name="monitor" depth="10" timeout="500ms" interval="60s"/>
<action name="monitor" depth="0" timeout="5s" interval="3s" role="Master"/>
<action name="meta-data" timeout="5s"/>
</actions>
</resource-agent>"#;

    #[test]
    fn a_description_gives_times_and_monitors() {
        let description = Description::parse(AGENT).expect("it is one");
        assert_eq!(description.timeout_ms("start"), 120_000);
        assert_eq!(description.timeout_ms("stop"), 20_000);
        assert_eq!(description.timeout_ms("validate-all"), TIMEOUT_MS);
        let times = |most| {
            let monitors = description.monitors(most).into_iter();
            monitors.map(|it| (it.depth, it.interval_ms, it.timeout_ms)).collect::<Vec<_>>()
        };
        assert_eq!(times(0), [(0, 10_000, 20_000)]);
        assert_eq!(times(20), [(0, 10_000, 20_000), (10, 60_000, 500)]);
        assert_eq!(Description::default().monitors(0).len(), 1);
    }

    #[test]
    fn parameters_are_judged_by_the_description() {
        let description = Description::parse(AGENT).expect("it is one");
        let wrong = |given: &[(&str, &str)]| {
            let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            description.wrong(&given.collect())
        };
        assert_eq!(wrong(&[("ip", "10.0.0.1"), ("port", "80"), ("quiet", "Yes"), ("mode", "a")]), [""; 0]);
        assert_eq!(wrong(&[]), ["the agent needs the parameter `ip`"]);
        let all = wrong(&[("ip", "1"), ("port", "x"), ("quiet", "perhaps"), ("mode", "c"), ("other", "1")]);
        assert_eq!(
            all,
            [
                "the parameter `mode` must be one of a, b, not `c`",
                "the agent has no parameter `other`; it has ip, port, quiet, mode",
                "the parameter `port` must be an integer, not `x`",
                "the parameter `quiet` must be true or false, not `perhaps`",
            ]
        );
    }

    #[test]
    fn what_is_no_description_is_refused() {
        assert!(matches!(Description::parse("usage: thing"), Err(DescriptionError::NoXml(_))));
        assert_eq!(Description::parse("<fence-agent/>"), Err(DescriptionError::NoAgent));
    }

    #[test]
    fn durations_have_the_units_that_agents_write() {
        let all = ["20", "20s", " 20 s ", "500ms", "2min", "1h"].map(duration_ms);
        assert_eq!(all, [20_000, 20_000, 20_000, 500, 120_000, 3_600_000].map(Some));
        assert_eq!(["", "s", "20 parsecs", "-1"].map(duration_ms), [None; 4]);
    }

    #[test]
    fn the_end_of_a_monitor_is_judged_and_its_newest_reason_is_told() {
        let prefix = "ocf-exit-reason:db:";
        let said = b"ocf-exit-reason:db:first\nnoise\nocf-exit-reason:other:not this\nocf-exit-reason:db: no answer\nend\n";
        assert_eq!(judge(Some(0), said, prefix), Answer::good());
        assert_eq!(judge(Some(8), said, prefix), Answer::good());
        assert_eq!(judge(Some(7), said, prefix), Answer::bad("it does not run (status 7): no answer"));
        assert_eq!(judge(Some(1), b"", prefix), Answer::bad("it failed (status 1)"));
        assert_eq!(
            judge(Some(77), b"", prefix),
            Answer::bad("it ended with a status that has no meaning (status 77)")
        );
        let warning = Some("it runs, but not as well as it should (status 190): no answer".to_owned());
        assert_eq!(judge(Some(190), said, prefix), Answer::Good { warning, figures: Vec::new() });
        assert_eq!(judge(None, said, prefix), Answer::bad("its agent was ended by a signal"));
    }
}
