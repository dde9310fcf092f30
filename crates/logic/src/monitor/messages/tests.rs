//! Every row of the catalogue, as the guide of Internet Server Agent has it.

use super::*;

const DATE: Date = Date { month: 8, day: 31, year: 2007 };

/// Number, class and text for both commands.
fn check(message: Message, id: u16, classes: [Class; 2], http: &str, smtp: &str) {
    assert_eq!(message.id(), id);
    for (service, class, text) in [(Service::Http, classes[0], http), (Service::Smtp, classes[1], smtp)] {
        assert_eq!(message.class(service), class, "{service:?}");
        assert_eq!(message.text(service, "watch1"), text);
    }
}

/// A row whose texts differ in names only.
fn twins(message: Message, id: u16, class: Class, http: &str) {
    let smtp = http.replace("clp_httpmon", "clp_smtpmon").replace("HTTP", "SMTP");
    check(message, id, [class, class], http, &smtp);
}

#[test]
fn event_1_started() {
    twins(
        Message::HasStarted,
        1,
        Class::Normal,
        "clp_httpmon started monitoring the HTTP daemon. [ID:watch1]",
    );
}

#[test]
fn event_2_will_start() {
    twins(
        Message::WillMonitor,
        2,
        Class::Normal,
        "clp_httpmon will start monitoring the HTTP daemon. [ID:watch1]",
    );
    assert!(Message::WillMonitor.is_inferred(Service::Http), "its number is lost");
}

#[test]
fn event_3_will_stop() {
    twins(
        Message::WillStop,
        3,
        Class::Normal,
        "clp_httpmon will stop monitoring the HTTP daemon. [ID:watch1]",
    );
    assert!(Message::WillStop.is_inferred(Service::Smtp) && !Message::WillStop.is_inferred(Service::Http));
}

#[test]
fn event_6_detected_an_error() {
    let text = "clp_httpmon detected an error and will be terminated. [ID:watch1]";
    twins(Message::Terminates, 6, Class::Detection, text);
    let advice = Message::Terminates.advice(Service::Http);
    assert_eq!(advice, Some("Troubleshoot the problem by the message just before."));
}

#[test]
fn event_7_paused() {
    twins(Message::Pauses, 7, Class::Normal, "clp_httpmon will stop monitoring. [ID:watch1]");
}

#[test]
fn event_8_resumed() {
    twins(Message::Resumes, 8, Class::Normal, "clp_httpmon will start monitoring. [ID:watch1]");
}

#[test]
fn event_11_parameter() {
    check(
        Message::BadParameter,
        11,
        [Class::Setting; 2],
        "The parameter value of the clp_httpmon is invalid. [ID:watch1]",
        "The parameter value of clp_smtpmon is invalid. [ID:watch1]",
    );
}

#[test]
fn event_13_no_identifier() {
    let text = "An identifier is not specified in the clp_httpmon command.";
    twins(Message::NoIdentifier, 13, Class::Setting, text);
    assert!(Message::NoIdentifier.is_inferred(Service::Smtp), "its text is lost");
}

#[test]
fn event_14_identifier_used() {
    twins(
        Message::IdentifierUsed,
        14,
        Class::Setting,
        "The specified identifier is already used. [ID:watch1]",
    );
}

#[test]
fn event_15_end_processing() {
    let text = "clp_httpmon could not perform the end processing. [ID:watch1]";
    twins(Message::CannotEnd, 15, Class::Setting, text);
}

#[test]
fn event_42_system_error() {
    let message = Message::SystemError { function: "open", number: 24 };
    twins(message, 42, Class::System, "clp_httpmon has detected system error (open 24). [ID:watch1]");
}

#[test]
fn event_51_no_license() {
    twins(Message::NoLicense, 51, Class::Setting, "The license of clp_httpmon is not registered.");
    assert!(Message::NoLicense.is_inferred(Service::Http), "its number is lost");
}

#[test]
fn event_52_trial() {
    check(
        Message::Trial { until: DATE },
        52,
        [Class::Normal; 2],
        "clp_httpmon trial version is effective till 08/31/2007 (mm/dd/yyyy).",
        "Trial version of clp_smtpmon is effective till 08/31/2007 (mm/dd/yyyy).",
    );
}

#[test]
fn event_53_trial_expired() {
    check(
        Message::TrialExpired { on: DATE },
        53,
        [Class::Setting; 2],
        "The trial version license has expired in 08/31/2007 (mm/dd/yyyy).",
        "The trial version license has expired on 08/31/2007 (mm/dd/yyyy).",
    );
}

#[test]
fn event_54_license_unchecked() {
    let text = "Failed to check the license information of clp_httpmon.";
    twins(Message::LicenseUnchecked, 54, Class::System, text);
    assert!(Message::LicenseUnchecked.is_inferred(Service::Http), "its number is lost");
}

#[test]
fn event_55_trial_not_yet() {
    let text = "The trial version license is effective from 08/31/2007 (mm/dd/yyyy).";
    twins(Message::TrialNotYet { from: DATE }, 55, Class::Setting, text);
}

#[test]
fn event_56_license_overlaps() {
    twins(Message::LicenseOverlaps, 56, Class::Setting, "The registration license overlaps.");
}

#[test]
fn event_71_socket() {
    let text = "clp_httpmon has detected network error(socket error[97]). [ID:watch1]";
    twins(Message::SocketError { number: 97 }, 71, Class::System, text);
}

#[test]
fn event_72_connect() {
    let text = "clp_httpmon has detected network error(connect error[111]). [ID:watch1]";
    twins(Message::ConnectError { number: 111, is_setting: false }, 72, Class::Detection, text);
    check(
        Message::ConnectError { number: 111, is_setting: true },
        72,
        [Class::Setting; 2],
        "The clp_httpmon has detected network error(connect error[111]). [ID:watch1]",
        "clp_smtpmon has detected network error(connect error[111]). [ID:watch1]",
    );
}

#[test]
fn event_73_send() {
    let text = "clp_httpmon has detected network error(send error[32]). [ID:watch1]";
    twins(Message::SendError { number: 32 }, 73, Class::Detection, text);
}

#[test]
fn event_74_select() {
    let text = "clp_httpmon has detected network error(select error[32]). [ID:watch1]";
    twins(Message::SelectError { number: 32 }, 74, Class::Detection, text);
}

#[test]
fn event_75_receive() {
    let text = "clp_httpmon has detected network error(recv error[32]). [ID:watch1]";
    twins(Message::ReceiveError { number: 32 }, 75, Class::Detection, text);
}

#[test]
fn event_81_no_address() {
    check(
        Message::NoAddress { number: -2 },
        81,
        [Class::Setting; 2],
        "Failed to obtain the IP address. (error[-2]). [ID:watch1]",
        "Failed to obtain IP address.(error[-2]). [ID:watch1]",
    );
}

#[test]
fn event_82_invalid_response() {
    let text = "clp_httpmon has detected an error in HTTP(invalid response). [ID:watch1]";
    assert_eq!(Message::InvalidResponse.text(Service::Http, "watch1"), text);
    assert_eq!(
        (Message::InvalidResponse.id(), Message::InvalidResponse.class(Service::Http)),
        (82, Class::Detection)
    );
}

#[test]
fn event_83_invalid_status() {
    check(
        Message::InvalidStatus { status: 503 },
        83,
        [Class::Setting, Class::Detection],
        "clp_httpmon has detected an error in HTTP(invalid status code[503]). [ID:watch1]",
        "clp_smtpmon has detected an error in SMTP (invalid status code[503]). [ID:watch1]",
    );
    assert!(Message::InvalidStatus { status: 503 }.is_inferred(Service::Http), "its text is lost");
}
