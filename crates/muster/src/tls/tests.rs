//! Certificates made here: which is shown for which name, and what is wrong with files.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use wire::settings::CertificateFiles;

struct Files(std::path::PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("muster-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the directory is ours");
        path.display().to_string()
    }

    fn pair(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names.clone()).expect("names");
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let stem = names.join("-").replace('*', "any");
        CertificateFiles {
            certificate: self.write(&format!("{stem}.pem"), &certificate.pem()),
            key: self.write(&format!("{stem}.key"), &key.serialize_pem()),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn build(certificates: Vec<CertificateFiles>) -> Result<ServerTls, TlsError> {
    let tls = ListenerTls { certificates, ..ListenerTls::default() };
    server_config(&tls, &[b"http/1.1"], tickets().expect("random bytes"))
}

#[test]
fn a_connection_for_one_name_carries_no_requests_for_a_host_of_another_certificate() {
    let files = Files::new("others");
    let pairs = [&["a.example", "b.example"][..], &["*.c.example"], &["d.example"]];
    let tls = build(pairs.map(|names| files.pair(names, |_| {})).into()).expect("right files");
    let are_others = |asked, host| tls.certificates.are_others(asked, host);
    assert!(!are_others("a.example", "A.example"));
    assert!(!are_others("a.example", "b.example"));
    assert!(are_others("a.example", "x.c.example"));
    assert!(!are_others("x.c.example", "y.c.example"));
    assert!(are_others("d.example", "unknown.example"));
    assert!(!are_others("a.example", "unknown.example"), "it is shown the first as well");
}

#[test]
fn what_is_wrong_with_files_is_told_by_its_code() {
    let files = Files::new("wrong");
    let (one, two) = (files.pair(&["one"], |_| {}), files.pair(&["two"], |_| {}));
    let code = |certificate: &str, key: &str| {
        let pair = CertificateFiles { certificate: certificate.into(), key: key.into() };
        let error = build(vec![pair]).expect_err("wrong files");
        (error.code().0, error.to_string())
    };
    let (wrong_key, text) = code(&one.certificate, &two.key);
    assert_eq!(wrong_key, "M1031", "{text}");
    let missing = files.0.join("missing").display().to_string();
    let (unreadable, text) = code(&missing, &one.key);
    assert_eq!(unreadable, "M1030");
    assert!(text.contains("missing"), "{text}");
    let (_, text) = code(&one.key, &one.key);
    assert!(text.contains("holds no certificate"), "{text}");
    let (_, text) = code(&one.certificate, &one.certificate);
    assert!(text.contains("holds no private key"), "{text}");
    let noise = files.write("noise", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    let (_, text) = code(&noise, &one.key);
    assert!(text.contains("damaged"), "{text}");
}

#[test]
fn a_certificate_whose_time_is_over_is_noticed() {
    let files = Files::new("time");
    let pair = files.pair(&["old"], |parameters| {
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let over_s = 1_609_459_200;
    assert!(time_trouble(&pair.certificate, over_s - 1).is_none());
    assert!(time_warning(&pair.certificate, over_s - 31 * 86_400).is_none());
    let soon = time_warning(&pair.certificate, over_s - 29 * 86_400).expect("it is over soon");
    assert_eq!(soon.code().0, "M1033");
    assert!(soon.to_string().ends_with("expires in 29 days"), "{soon}");
    let today = time_warning(&pair.certificate, over_s - 1).expect("it is over soon");
    assert!(today.to_string().ends_with("expires in less than a day"), "{today}");
    let trouble = time_trouble(&pair.certificate, over_s + 3 * 86_400).expect("it is over");
    assert_eq!(trouble.code().0, "M1032");
    assert!(trouble.to_string().ends_with("expired 3 days ago"), "{trouble}");
    let fresh = time_trouble(&pair.certificate, over_s).expect("it is just over");
    assert!(fresh.to_string().ends_with("expired less than a day ago"), "{fresh}");
    let early = time_trouble(&pair.certificate, 1_577_836_799).expect("it is too early");
    assert!(early.to_string().ends_with("is not valid yet"), "{early}");
}

#[test]
fn names_come_from_the_certificate() {
    let key = KeyPair::generate().expect("a key");
    let mut parameters =
        CertificateParams::new(vec!["Shop.example".to_owned(), "10.0.0.1".to_owned()]).expect("names");
    let read = |parameters: &CertificateParams| {
        let certificate = parameters.self_signed(&key).expect("a certificate");
        logic::certificate::read(certificate.der()).expect("a certificate").names
    };
    assert_eq!(read(&parameters), ["shop.example"]);
    parameters.subject_alt_names.clear();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "old.example");
    assert_eq!(read(&parameters), ["old.example"]);
}

#[test]
fn base64_is_that_of_the_standard() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
    assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
}
