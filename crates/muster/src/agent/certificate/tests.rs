//! When an agent says that its node's certificate is overdue.

use super::*;
use crate::identity::authority::{Authority, Subject};
use crate::identity::now_us;
use rcgen::KeyPair;

const LIFE: Duration = Duration::from_secs(3_600);

/// A state directory with a certificate that was made so long ago.
fn machine(name: &str, age: Duration) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("muster-overdue-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&directory));
    let place = Place::of(&directory);
    let authority = Authority::create(&place).expect("a new authority");
    let key = KeyPair::generate().expect("a key");
    let issued_us = now_us() - age.as_micros() as u64;
    let subject = Subject { node: &"b".into(), is_manager: false, issued_us, life: LIFE };
    let certificate = authority.issue(&key, &subject).expect("a certificate");
    place.keep_identity(&certificate, &key).expect("written");
    directory
}

#[test]
fn a_certificate_is_overdue_when_half_the_time_to_renew_it_is_over() {
    for (name, minutes, is_overdue) in [("new", 1, false), ("due", 45, false), ("overdue", 55, true)] {
        let directory = machine(name, Duration::from_secs(minutes * 60));
        let mut own = OwnCertificate::of(&directory);
        let until_ms = own.overdue_until_ms();
        assert_eq!(until_ms.is_some(), is_overdue, "{name}");
        if let Some(until_ms) = until_ms {
            let left_s = until_ms / 1_000 - now_us() / 1_000_000;
            assert!(left_s <= 5 * 60, "{left_s}");
        }
        // Looked at once for a while, so that reports cost nothing.
        std::fs::remove_dir_all(&directory).expect("removed");
        assert_eq!(own.overdue_until_ms(), until_ms);
        assert_eq!(OwnCertificate::of(&directory).overdue_until_ms(), None, "no machine of a cell");
    }
}
