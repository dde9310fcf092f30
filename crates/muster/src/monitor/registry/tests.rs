//! Identifiers: who has one, and what is left of who had.

use super::*;

struct Place(Registry);

impl Place {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("muster-registry-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        Self(Registry { directory })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0.directory);
    }
}

fn claim(registry: &Registry) -> Option<Claim> {
    registry.claim("WATCH1", "clp_httpmon").expect("the directory can be written")
}

#[test]
fn an_identifier_is_held_until_its_claim_is_dropped() {
    let place = Place::new("held");
    let registry = &place.0;
    assert_eq!(registry.look_up("WATCH1").expect("it can be read"), None);
    let held = claim(registry).expect("nobody has it");
    assert!(claim(registry).is_none());
    let record = registry.look_up("WATCH1").expect("it can be read").expect("it is on record");
    assert_eq!(
        (record.pid, record.command.as_str(), record.is_held),
        (std::process::id(), "clp_httpmon", true)
    );
    assert!(!registry.forget("WATCH1").expect("it can be tried"), "it is held");
    assert!(registry.socket(record.pid).exists());
    drop(held);
    assert!(!registry.socket(record.pid).exists());
    assert_eq!(registry.look_up("WATCH1").expect("it can be read"), None);
    assert!(claim(registry).is_some());
}

#[test]
fn what_a_killed_process_left_is_told_and_taken_over() {
    let place = Place::new("killed");
    let registry = &place.0;
    drop(claim(registry));
    std::fs::write(registry.path("WATCH1"), "4000000 clp_smtpmon\n").expect("it can be written");
    let record = registry.look_up("WATCH1").expect("it can be read");
    let expected = Record { pid: 4_000_000, command: "clp_smtpmon".into(), is_held: false };
    assert_eq!(record, Some(expected));
    drop(claim(registry).expect("nobody holds it"));
    std::fs::write(registry.path("WATCH1"), "4000000 clp_smtpmon\n").expect("it can be written");
    assert!(registry.forget("WATCH1").expect("it can be removed"));
    assert!(registry.forget("WATCH1").expect("there is nothing to remove"));
    std::fs::write(registry.path("WATCH1"), "nonsense").expect("it can be written");
    assert_eq!(registry.look_up("WATCH1").expect("it can be read"), None);
}

#[test]
fn the_socket_of_a_killed_process_goes_and_that_of_a_living_one_stays() {
    let place = Place::new("sockets");
    let registry = &place.0;
    drop(claim(registry));
    let left = registry.socket(4_000_000);
    for forget in [false, true] {
        // Nobody listens there any more.
        drop(UnixListener::bind(&left).expect("nothing is there"));
        std::fs::write(registry.path("WATCH1"), "4000000 clp_httpmon\n").expect("it can be written");
        match forget {
            false => drop(claim(registry).expect("nobody holds it")),
            true => assert!(registry.forget("WATCH1").expect("it can be removed")),
        }
        assert!(!left.exists());
    }
    let living = UnixListener::bind(&left).expect("nothing is there");
    std::fs::write(registry.path("WATCH1"), "4000000 clp_httpmon\n").expect("it can be written");
    drop(claim(registry).expect("nobody holds it"));
    assert!(left.exists(), "the number is that of another monitor by now");
    drop(living);
}

#[test]
fn the_longest_identifier_has_a_place() {
    let place = Place::new("longest");
    let longest = "x".repeat(255);
    let held = place.0.claim(&longest, "clp_httpmon").expect("a file may have that name");
    assert!(held.is_some());
}
