//! The catalogue of `clp_httpmon` and `clp_smtpmon`: number, class, text and advice of each message.
//!
//! Numbers and texts are those of ExpressCluster X Internet Server Agent, so that filters and habits go on working. What its
//! guide has lost is inferred from the twin of the other command, and `is_inferred` says so.
//! Not here: when they are said (see `command`).

use wire::status::Severity;

/// Whose messages: the two commands word a few of them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Http,
    Smtp,
}

impl Service {
    pub fn command(self) -> &'static str {
        match self {
            Service::Http => "clp_httpmon",
            Service::Smtp => "clp_smtpmon",
        }
    }

    /// As messages call what is monitored.
    fn name(self) -> &'static str {
        match self {
            Service::Http => "HTTP",
            Service::Smtp => "SMTP",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Normal,
    /// A parameter or the surroundings are wrong.
    Setting,
    /// The service has failed.
    Detection,
    System,
}

/// When a trial ends or begins; nobody needs a licence of Muster, so such messages are only in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    pub month: u8,
    pub day: u8,
    pub year: u16,
}

/// Numbers are those of the system (`errno`), statuses those of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    HasStarted,
    WillMonitor,
    WillStop,
    Terminates,
    Pauses,
    Resumes,
    BadParameter,
    NoIdentifier,
    IdentifierUsed,
    CannotEnd,
    SystemError {
        function: &'static str,
        number: i32,
    },
    NoLicense,
    Trial {
        until: Date,
    },
    TrialExpired {
        on: Date,
    },
    LicenseUnchecked,
    TrialNotYet {
        from: Date,
    },
    LicenseOverlaps,
    SocketError {
        number: i32,
    },
    /// `is_setting`: it has never worked, so address or port may be wrong.
    ConnectError {
        number: i32,
        is_setting: bool,
    },
    SendError {
        number: i32,
    },
    SelectError {
        number: i32,
    },
    ReceiveError {
        number: i32,
    },
    NoAddress {
        number: i32,
    },
    InvalidResponse,
    InvalidStatus {
        status: u16,
    },
}

impl Message {
    pub fn id(self) -> u16 {
        match self {
            Message::HasStarted => 1,
            Message::WillMonitor => 2,
            Message::WillStop => 3,
            Message::Terminates => 6,
            Message::Pauses => 7,
            Message::Resumes => 8,
            Message::BadParameter => 11,
            Message::NoIdentifier => 13,
            Message::IdentifierUsed => 14,
            Message::CannotEnd => 15,
            Message::SystemError { .. } => 42,
            Message::NoLicense => 51,
            Message::Trial { .. } => 52,
            Message::TrialExpired { .. } => 53,
            Message::LicenseUnchecked => 54,
            Message::TrialNotYet { .. } => 55,
            Message::LicenseOverlaps => 56,
            Message::SocketError { .. } => 71,
            Message::ConnectError { .. } => 72,
            Message::SendError { .. } => 73,
            Message::SelectError { .. } => 74,
            Message::ReceiveError { .. } => 75,
            Message::NoAddress { .. } => 81,
            Message::InvalidResponse => 82,
            Message::InvalidStatus { .. } => 83,
        }
    }

    pub fn class(self, service: Service) -> Class {
        match self {
            Message::HasStarted
            | Message::WillMonitor
            | Message::WillStop
            | Message::Pauses
            | Message::Resumes
            | Message::Trial { .. } => Class::Normal,
            Message::BadParameter
            | Message::NoIdentifier
            | Message::IdentifierUsed
            | Message::CannotEnd
            | Message::NoLicense
            | Message::TrialExpired { .. }
            | Message::TrialNotYet { .. }
            | Message::LicenseOverlaps
            | Message::NoAddress { .. }
            | Message::ConnectError { is_setting: true, .. } => Class::Setting,
            Message::Terminates
            | Message::ConnectError { is_setting: false, .. }
            | Message::SendError { .. }
            | Message::SelectError { .. }
            | Message::ReceiveError { .. }
            | Message::InvalidResponse => Class::Detection,
            Message::InvalidStatus { .. } => match service {
                Service::Http => Class::Setting,
                Service::Smtp => Class::Detection,
            },
            Message::SystemError { .. } | Message::LicenseUnchecked | Message::SocketError { .. } => {
                Class::System
            }
        }
    }

    pub fn severity(self, service: Service) -> Severity {
        match self.class(service) {
            Class::Normal => Severity::Info,
            Class::Setting | Class::Detection | Class::System => Severity::Error,
        }
    }

    /// Whether the guide has lost its number or its text for this command.
    pub fn is_inferred(self, service: Service) -> bool {
        match (self, service) {
            (Message::WillMonitor, _)
            | (
                Message::NoLicense | Message::LicenseUnchecked | Message::InvalidStatus { .. },
                Service::Http,
            )
            | (
                Message::WillStop
                | Message::BadParameter
                | Message::NoIdentifier
                | Message::IdentifierUsed
                | Message::CannotEnd
                | Message::SocketError { .. },
                Service::Smtp,
            ) => true,
            (_, Service::Http | Service::Smtp) => false,
        }
    }

    pub fn text(self, service: Service, identifier: &str) -> String {
        let command = service.command();
        let daemon = format!("the {} daemon", service.name());
        let id = format!("[ID:{identifier}]");
        let network = |what: &str, number: i32| {
            format!("{command} has detected network error({what} error[{number}]). {id}")
        };
        match self {
            Message::HasStarted => format!("{command} started monitoring {daemon}. {id}"),
            Message::WillMonitor => format!("{command} will start monitoring {daemon}. {id}"),
            Message::WillStop => format!("{command} will stop monitoring {daemon}. {id}"),
            Message::Terminates => format!("{command} detected an error and will be terminated. {id}"),
            Message::Pauses => format!("{command} will stop monitoring. {id}"),
            Message::Resumes => format!("{command} will start monitoring. {id}"),
            Message::BadParameter => match service {
                Service::Http => format!("The parameter value of the {command} is invalid. {id}"),
                Service::Smtp => format!("The parameter value of {command} is invalid. {id}"),
            },
            Message::NoIdentifier => format!("An identifier is not specified in the {command} command."),
            Message::IdentifierUsed => format!("The specified identifier is already used. {id}"),
            Message::CannotEnd => format!("{command} could not perform the end processing. {id}"),
            Message::SystemError { function, number } => {
                format!("{command} has detected system error ({function} {number}). {id}")
            }
            Message::SocketError { number } => network("socket", number),
            Message::ConnectError { number, is_setting } => match (service, is_setting) {
                (Service::Http, true) => format!("The {}", network("connect", number)),
                (Service::Http, false) | (Service::Smtp, _) => network("connect", number),
            },
            Message::SendError { number } => network("send", number),
            Message::SelectError { number } => network("select", number),
            Message::ReceiveError { number } => network("recv", number),
            Message::NoAddress { number } => match service {
                Service::Http => format!("Failed to obtain the IP address. (error[{number}]). {id}"),
                Service::Smtp => format!("Failed to obtain IP address.(error[{number}]). {id}"),
            },
            Message::InvalidResponse => {
                format!("{command} has detected an error in {}(invalid response). {id}", service.name())
            }
            Message::InvalidStatus { status } => match service {
                Service::Http => {
                    format!("{command} has detected an error in HTTP(invalid status code[{status}]). {id}")
                }
                Service::Smtp => {
                    format!("{command} has detected an error in SMTP (invalid status code[{status}]). {id}")
                }
            },
            Message::NoLicense
            | Message::Trial { .. }
            | Message::TrialExpired { .. }
            | Message::LicenseUnchecked
            | Message::TrialNotYet { .. }
            | Message::LicenseOverlaps => self.license_text(service),
        }
    }

    fn license_text(self, service: Service) -> String {
        let command = service.command();
        let date = |Date { month, day, year }| format!("{month:02}/{day:02}/{:02} (mm/dd/yyyy)", year);
        match (self, service) {
            (Message::NoLicense, _) => format!("The license of {command} is not registered."),
            (Message::Trial { until }, Service::Http) => {
                format!("{command} trial version is effective till {}.", date(until))
            }
            (Message::Trial { until }, Service::Smtp) => {
                format!("Trial version of {command} is effective till {}.", date(until))
            }
            (Message::TrialExpired { on }, Service::Http) => {
                format!("The trial version license has expired in {}.", date(on))
            }
            (Message::TrialExpired { on }, Service::Smtp) => {
                format!("The trial version license has expired on {}.", date(on))
            }
            (Message::TrialNotYet { from }, _) => {
                format!("The trial version license is effective from {}.", date(from))
            }
            (Message::LicenseUnchecked, _) => {
                format!("Failed to check the license information of {command}.")
            }
            (_, _) => "The registration license overlaps.".to_owned(),
        }
    }

    /// What to do about it.
    pub fn advice(self, service: Service) -> Option<&'static str> {
        match self {
            Message::Terminates => Some("Troubleshoot the problem by the message just before."),
            Message::ConnectError { is_setting: true, .. } => {
                Some("The IP address and port number may be invalid, or the service may have stopped.")
            }
            Message::NoAddress { .. } => Some("The server name given with -s may be incorrect."),
            Message::BadParameter | Message::NoIdentifier | Message::IdentifierUsed => {
                Some("Check the parameters of the monitoring command.")
            }
            Message::InvalidStatus { .. } if service == Service::Http => Some(
                "The URI given with -h may be invalid, or this server may not have permission to read it.",
            ),
            Message::SystemError { .. } => Some("Check the system by the number."),
            Message::ConnectError { is_setting: false, .. }
            | Message::SocketError { .. }
            | Message::SendError { .. }
            | Message::SelectError { .. }
            | Message::ReceiveError { .. }
            | Message::InvalidResponse
            | Message::InvalidStatus { .. } => Some("Troubleshoot the error by its number."),
            Message::HasStarted
            | Message::WillMonitor
            | Message::WillStop
            | Message::Pauses
            | Message::Resumes
            | Message::CannotEnd
            | Message::NoLicense
            | Message::Trial { .. }
            | Message::TrialExpired { .. }
            | Message::LicenseUnchecked
            | Message::TrialNotYet { .. }
            | Message::LicenseOverlaps => None,
        }
    }
}

#[cfg(test)]
mod tests;
