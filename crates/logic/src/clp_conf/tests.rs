//! A file with a bit of everything, its pieces, and odd files.

use super::*;

const SAMPLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<root>
 <all><charset>ASCII</charset></all>
 <cluster><name>web farm</name><comment> </comment><heartbeat><interval>3</interval></heartbeat></cluster>
 <server name="server2"><priority>1</priority><device id="0"><type>lan</type><info>10.0.0.2</info></device></server>
 <server name="server1">
  <priority>0</priority>
  <device id="0"><type>lan</type><info>10.0.0.1</info></device>
  <device id="1"><type>lan</type><info>192.168.0.1</info></device>
 </server>
 <group name="failover1">
  <comment> </comment>
  <resource name="exec@httpmon"/><resource name="fip@fip1"/><resource name="exec@HTTP"/>
  <gid>0</gid><start>0</start>
  <policy name="server1"><order>0</order></policy><policy name="server2"><order>1</order></policy>
 </group>
 <group name="ManagementGroup"><resource name="fip@fip1"/></group>
 <resource>
  <types name="exec"/>
  <fip name="fip1"><parameters><ip>10.0.0.12</ip></parameters></fip>
  <exec name="HTTP">
   <parameters><act><path>start.sh</path></act><deact><path>/opt/stop "it".sh</path></deact>
    <timeout><start>90</start></timeout><userlog>/var/log/x</userlog></parameters>
   <act><retry>2</retry></act>
  </exec>
  <exec name="httpmon"><depend name="HTTP"/><parameters><act><sync>0</sync></act></parameters></exec>
 </resource>
 <monitor>
  <types name="httpw"/>
  <httpw name="httpw1"><polling><interval>30</interval><timeout>10</timeout><reconfirmation>2</reconfirmation></polling>
   <parameters><servername>10.0.0.12</servername><port>8080</port><requesturi>/index.html</requesturi></parameters></httpw>
  <smtpw name="smtpw1"/>
  <genw name="genw1"><parameters><path>genw.sh</path></parameters></genw>
  <pidw name="pidw1"><target>httpmon</target></pidw>
  <ipw name="ipw1"/>
 </monitor>
</root>
"#;

fn import(text: &str) -> Imported {
    super::import(text.as_bytes(), "/srv/scripts").expect("it can be read")
}

#[test]
fn what_maps_becomes_a_configuration() {
    let expected = r#"[cell]
name = "web-farm"

# The manager runs on the first server of this file.
[manager]
listen = "0.0.0.0:29001"

[nodes.server1]
address = "10.0.0.1"

[nodes.server2]
address = "10.0.0.2"

[groups.failover1]
nodes = ["server1", "server2"]
startup = "manual"

[groups.failover1.resources.HTTP]
type = "exec"
start = ["/srv/scripts/failover1/HTTP/start.sh"]
stop = ["/opt/stop \"it\".sh"]
start_timeout_ms = 90000
stop_timeout_ms = 1800000

[groups.failover1.resources.httpmon]
type = "process"
command = ["/srv/scripts/failover1/httpmon/start.sh"]

# Its stop script; it is stopped before the one above.
[groups.failover1.resources.httpmon-stop]
type = "exec"
start = ["true"]
stop = ["/srv/scripts/failover1/httpmon/stop.sh"]
stop_timeout_ms = 1800000

[monitors.httpw1]
kind = "http"
target = "10.0.0.12:8080"
method = "HEAD"
path = "/index.html"
interval_ms = 30000
timeout_ms = 10000
retries = 2

[monitors.smtpw1]
kind = "smtp"
target = "127.0.0.1:25"

[monitors.genw1]
kind = "custom"
command = ["/srv/scripts/monitor.s/genw1/genw.sh"]
"#;
    assert_eq!(import(SAMPLE).text, expected);
}

#[test]
fn what_was_not_taken_is_told_with_its_place_and_why() {
    let notes: Vec<String> = import(SAMPLE).notes.iter().map(ToString::to_string).collect();
    for (start, part) in [
        ("line 4, ", "cluster[web farm]: it is called `web-farm` here"),
        ("line 4, ", "cluster/heartbeat/interval: "),
        ("line 9, ", "device: a node has one address; 192.168.0.1 is not used"),
        ("line 17, ", "group[ManagementGroup]: none of its resources is taken"),
        (
            "line 20, ",
            "resource[fip@fip1]: resources of type fip are not taken: add a resource with type = \"address\" and",
        ),
        ("line 23, ", "/userlog: output goes to log/group.NAME.log"),
        ("line 24, ", "/act/retry: recovery is configured otherwise"),
        ("line 34, ", "pidw[pidw1]: not needed"),
        ("line 35, ", "ipw[ipw1]: there is no monitor that pings"),
    ] {
        let is_told = notes.iter().any(|note| note.starts_with(start) && note.contains(part));
        assert!(is_told, "{start}{part} is not in {notes:#?}");
    }
}

#[test]
fn what_is_no_clp_conf_is_refused_with_its_place() {
    for (text, why) in [
        ("<root><server></root>", "line 1, column 1"),
        ("\n<Config/>", "line 2, column 1: the file begins with <Config>"),
        ("", "line 1, column 1"),
    ] {
        let error = super::import(text.as_bytes(), "/s").expect_err("it is no clp.conf");
        assert!(error.to_string().starts_with(why), "{error}");
    }
}

#[test]
fn odd_files_are_read_without_a_guess() {
    let imported = import("<root/>");
    assert_eq!((imported.text.as_str(), imported.notes.len()), ("", 0));
    let text = "<root><server name=\"a\"><priority>x</priority></server><group name=\"g\"><resource name=\"exec\"/>\
                <resource name=\"exec@missing\"/></group><server name=\"a\"/></root>";
    let notes: Vec<String> = import(text).notes.iter().map(ToString::to_string).collect();
    for part in ["`x` is no number", "there is another one of this name", "TYPE@NAME", "does not describe it"]
    {
        assert!(notes.iter().any(|note| note.contains(part)), "{part} is not in {notes:#?}");
    }
}

#[test]
fn any_piece_of_a_file_is_read_or_refused() {
    for end in (0..SAMPLE.len()).filter(|end| SAMPLE.is_char_boundary(*end)) {
        // Only that it comes to an end.
        let _ = super::import(&SAMPLE.as_bytes()[..end], "/s");
    }
}
