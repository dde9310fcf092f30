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
  <resource name="exec@httpmon"/><resource name="fip@fip1"/><resource name="exec@HTTP"/><resource name="disk@disk1"/>
  <gid>0</gid><start>0</start>
  <policy name="server1"><order>0</order></policy><policy name="server2"><order>1</order></policy>
 </group>
 <group name="ManagementGroup"><resource name="ddns@name1"/></group>
 <resource>
  <types name="exec"/>
  <fip name="fip1"><parameters><ip>10.0.0.12</ip></parameters><act><fo2>1</fo2><action>5</action></act></fip>
  <exec name="HTTP">
   <parameters><act><path>start.sh</path></act><deact><path>/opt/stop "it".sh</path></deact>
    <timeout><start>90</start></timeout><userlog>/var/log/x</userlog></parameters>
   <act><retry>2</retry></act>
  </exec>
  <disk name="disk1"><parameters><disktype>disk</disktype><device>/dev/sdb2</device><mount><point>/mnt/sdb2</point></mount><fs>ext3</fs></parameters></disk><ddns name="name1"/>
  <exec name="httpmon"><depend name="HTTP"/><parameters><act><sync>0</sync></act></parameters></exec>
 </resource>
 <monitor>
  <types name="httpw"/>
  <httpw name="httpw1"><polling><interval>30</interval><timeout>10</timeout><reconfirmation>2</reconfirmation></polling>
   <parameters><servername>10.0.0.12</servername><port>8080</port><requesturi>/index.html</requesturi></parameters>
   <relation><type>rsc</type><name>HTTP</name></relation><target>HTTP</target><firstmonwait>5</firstmonwait><emergency><threshold><restart>2</restart><fo2>1</fo2></threshold><action>2</action></emergency></httpw>
  <smtpw name="smtpw1"><relation><type>grp</type><name>failover1</name></relation><polling><timing>0</timing></polling><emergency><action>4</action></emergency></smtpw>
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
class = "hard"
restarts_max = 2
failovers_max = 1

[groups.failover1.resources.disk1]
type = "filesystem"
device = "/dev/sdb2"
mount_point = "/mnt/sdb2"
file_system = "ext3"

[groups.failover1.resources.fip1]
type = "address"
address = "10.0.0.12/24"

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
group = "failover1"
resource = "HTTP"
start_period_ms = 0
delay_ms = 5000
restarts_max = 2
failovers_max = 1
final_action = "stop-group"

[monitors.smtpw1]
kind = "smtp"
target = "127.0.0.1:25"
group = "failover1"
when = "always"

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
        ("line 20, ", "fip[fip1]/parameters/ip: the file does not say how long the prefix"),
        ("line 20, ", "fip[fip1]/act/action: a group that cannot be started stays down"),
        ("line 23, ", "/userlog: output goes to log/group.NAME.log"),
        ("line 26, ", "disk[disk1]: machines that share a disk need a fence"),
        ("line 26, ", "resource[ddns@name1]: resources of type ddns are not taken"),
        ("line 34, ", "smtpw[smtpw1]/emergency/action: `shutdown` would also stop the only manager"),
        ("line 36, ", "pidw[pidw1]: not needed"),
        ("line 37, ", "ipw[ipw1]: there is no monitor that pings"),
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

#[test]
fn addresses_are_taken_as_far_as_the_file_describes_them() {
    let fip = |ip: &str| {
        let text = format!(
            "<root><server name=\"a\"/><group name=\"g\"><resource name=\"fip@f\"/></group>\
             <resource><fip name=\"f\"><parameters><ip>{ip}</ip></parameters></fip></resource></root>"
        );
        let imported = import(&text);
        (imported.text, imported.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    assert!(fip("10.0.0.9/16%eth1").0.ends_with("address = \"10.0.0.9/16\"\ninterface = \"eth1\"\n"));
    assert!(fip("fd00::9").0.ends_with("address = \"fd00::9/64\"\n"));
    for (ip, why) in
        [("", "it has no address"), ("10.0.0", "`10.0.0` is no address"), ("10.0.0.1/33", "is no address")]
    {
        let (text, notes) = fip(ip);
        assert!(notes.contains(why) && !text.contains("groups"), "{ip}: {notes}\n{text}");
    }
}

#[test]
fn disks_that_cannot_be_mounted_from_what_the_file_says_are_named() {
    let disk = |parameters: &str| {
        let text = format!(
            "<root><server name=\"a\"/><group name=\"g\"><resource name=\"disk@d\"/></group>\
             <resource><disk name=\"d\"><parameters>{parameters}</parameters></disk></resource></root>"
        );
        import(&text).notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let whole = "<device>/dev/sdb</device><mount><point>/mnt</point></mount><fs>ext4</fs>";
    assert!(disk("<disktype>raw</disktype>").contains("disks of type raw are not taken"));
    assert!(disk("<device>/dev/sdb</device>").contains("it has no parameters/mount/point"));
    assert!(
        disk(&format!("<disktype>lvm</disktype>{whole}")).contains("nothing here activates a volume group")
    );
    assert!(disk(whole).contains("need a fence"));
}
