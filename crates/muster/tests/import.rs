//! `muster import clp.conf`: a configuration comes out that Muster takes, and what was not taken is named with its place.

mod support;

use support::Scratch;
use support::cell::{Said, muster};

const SAMPLE: &str = "<root>\n<cluster><name>shop</name></cluster>\n\
    <server name=\"one\"><priority>0</priority><device id=\"0\"><type>lan</type><info>10.0.0.1</info></device></server>\n\
    <server name=\"two\"><priority>1</priority><device id=\"0\"><type>lan</type><info>10.0.0.2</info></device></server>\n\
    <group name=\"failover1\"><resource name=\"exec@http\"/><resource name=\"exec@mon\"/><resource name=\"fip@fip1\"/></group>\n\
    <resource><fip name=\"fip1\"><parameters><ip>10.0.0.12</ip></parameters></fip>\n\
    <exec name=\"http\"/><exec name=\"mon\"><depend name=\"http\"/><parameters><act><sync>0</sync></act></parameters></exec>\n\
    </resource>\n<monitor><httpw name=\"web\"><relation><type>rsc</type><name>http</name></relation>\
    <emergency><threshold><restart>1</restart></threshold></emergency></httpw><smtpw name=\"mail\"/><genw name=\"own\"/><pidw name=\"pid\">\
    <target>mon</target></pidw></monitor>\n</root>\n";

fn import(scratch: &Scratch, text: &str, more: &[&str]) -> Said {
    let file = scratch.write("clp.conf", text).display().to_string();
    muster(&[&["import", "clp.conf", &file], more].concat())
}

#[test]
fn what_is_made_of_clp_conf_is_taken_and_the_rest_is_named() {
    let scratch = Scratch::new();
    let said = import(&scratch, SAMPLE, &["--scripts", "/etc/muster/scripts"]);
    // Also says that the configuration made is right.
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.data.contains("start = [\"/etc/muster/scripts/failover1/http/start.sh\"]"), "{}", said.data);
    assert!(said.data.contains("type = \"address\"\naddress = \"10.0.0.12/24\""), "{}", said.data);
    assert!(
        said.data
            .contains("group = \"failover1\"\nresource = \"http\"\nstart_period_ms = 0\nrestarts_max = 1"),
        "{}",
        said.data
    );
    let file = scratch.join("clp.conf").display().to_string();
    for (line, part) in
        [(6, "fip[fip1]/parameters/ip: the file does not say how long"), (9, "pidw[pid]: not needed")]
    {
        let is_told = |talk: &str| talk.starts_with(&format!("{file}: line {line}, ")) && talk.contains(part);
        assert!(said.talk.lines().any(is_told), "{part}: {}", said.talk);
    }
    // Without a directory the scripts lie beside the file.
    let said = import(&scratch, SAMPLE, &[]);
    let beside = scratch.join("scripts/failover1/http/start.sh").display().to_string();
    assert!(said.data.contains(&beside), "{}", said.data);
}

#[test]
fn what_is_no_clp_conf_is_refused_with_its_place() {
    let scratch = Scratch::new();
    let said = import(&scratch, "<root>\n<server name='one'\n</root>", &[]);
    assert_eq!((said.code, said.data.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.talk.starts_with("M2016: ") && said.talk.contains(": line 3, column "), "{}", said.talk);
    let missing = scratch.join("missing").display().to_string();
    let said = muster(&["import", "clp.conf", &missing]);
    assert_eq!(said.code, Some(1));
    assert!(said.talk.contains("cannot be read"), "{}", said.talk);
}
