//! Names of elements and attributes that nobody knows, that are misspelt, or that the vendor spells otherwise.

use super::{Findings, Severity};
use crate::plugin_cfg::definition::{self, ElementDefinition};
use crate::plugin_cfg::xml::{Element, Place};

pub fn check(root: &Element, findings: &mut Findings) {
    if let Some(known) = definition::element(&root.name, None) {
        check_known(root, known, findings);
    }
}

fn check_known(element: &Element, known: &ElementDefinition, findings: &mut Findings) {
    check_case("element", &element.name, known.name, element.place, findings);
    for (index, attribute) in element.attributes.iter().enumerate() {
        if attribute.name.starts_with("xml") {
            continue;
        }
        let is_again = element.attributes[..index]
            .iter()
            .any(|earlier| earlier.name.eq_ignore_ascii_case(&attribute.name));
        if is_again {
            let what = format!("{} is given twice, in different letters", attribute.name);
            findings.add(
                Severity::Error,
                "attribute-twice",
                attribute.place,
                what,
                "Leave one of them out; the first counts.",
            );
        }
        // Properties of IntelligentManagement are spelt in lower case by the vendor itself.
        let spelt_freely = known.name == "Property";
        match known.attribute(&attribute.name) {
            Some(_) if spelt_freely => {}
            Some(right) => check_case("attribute", &attribute.name, right.name, attribute.place, findings),
            None => {
                let names = known.attributes.iter().map(|attribute| attribute.name);
                unknown("attribute", &attribute.name, names, attribute.place, findings);
            }
        }
    }
    for child in element.elements() {
        match definition::element(&child.name, Some(known.name)) {
            Some(definition) => check_known(child, definition, findings),
            None => {
                let here = definition::ELEMENTS.iter().filter(|other| other.parents.contains(&known.name));
                unknown("element", &child.name, here.map(|other| other.name), child.place, findings);
            }
        }
    }
}

/// `CloneId` works here; in the vendor's plug-in names are told apart by case.
fn check_case(kind: &str, written: &str, right: &str, place: Place, findings: &mut Findings) {
    if written == right || (written, right) == ("CloneId", "CloneID") {
        return;
    }
    let what = format!("the {kind} {written} is spelt {right} by the vendor");
    let advice = "Muster takes both; other readers may ignore this one. Spell it as the vendor does.";
    findings.add(Severity::Hint, "spelling", place, what, advice);
}

fn unknown<'a>(
    kind: &str,
    written: &str,
    names: impl Iterator<Item = &'a str>,
    place: Place,
    findings: &mut Findings,
) {
    let shown: String = written.chars().take(60).collect();
    match names.into_iter().find(|name| is_near(written, name)) {
        Some(name) => {
            let what = format!("the {kind} {shown} is not known; {name} is");
            let advice = "If that is what was meant, correct it: as it stands it does nothing.";
            findings.add(Severity::Warning, "unknown-name", place, what, advice);
        }
        None => {
            let what = format!("the {kind} {shown} is not known");
            let advice = "It is kept and written back, and does nothing.";
            findings.add(Severity::Hint, "unknown-name", place, what, advice);
        }
    }
}

/// Whether one mistyped letter, one too many or one too few makes one of the other.
fn is_near(written: &str, name: &str) -> bool {
    let written: Vec<u8> = written.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
    let name: Vec<u8> = name.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
    if written.len().abs_diff(name.len()) > 1 || written.len() < 3 {
        return false;
    }
    let head = written.iter().zip(&name).take_while(|(left, right)| left == right).count();
    let tail = written.iter().rev().zip(name.iter().rev()).take_while(|(left, right)| left == right).count();
    let longer = written.len().max(name.len());
    // A swap of neighbours leaves two letters between what is equal before and after.
    let swapped = written.len() == name.len()
        && head + tail + 2 == longer
        && written[head] == name[head + 1]
        && written[head + 1] == name[head];
    head + tail + 1 >= longer || swapped
}
