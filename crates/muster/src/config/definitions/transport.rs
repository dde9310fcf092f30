//! Keys of listeners and of connections to members: TLS, the PROXY protocol, TCP.

use super::super::definition::{Definition, Preset};
use super::super::kind::{Form, Kind};
use super::key;

/// Listeners of a router. 64: each costs a socket for each thread.
pub const LISTENERS_MAX: usize = 64;
/// Certificates of a listener. 1,000: all are looked through in a handshake, which costs far more.
pub const CERTIFICATES_MAX: usize = 1000;
/// Server names of a listener that passes TLS through.
pub const SERVER_NAMES_MAX: usize = 1000;

pub const LISTENER: &[Definition] = &[
    key(
        "address",
        Kind::Text(Form::ListenAddress),
        Preset::Required,
        "\"0.0.0.0:8443\"",
        "Where it takes connections.",
    ),
    key(
        "protocol",
        Kind::Choice(&["http", "tcp", "tls"]),
        Preset::Text("http"),
        "\"tcp\"",
        "`http`: requests, sent on by the routes. `tcp`: bytes both ways with a member of `cluster`, for databases and \
         the like. `tls`: TLS passed through unread to the cluster that `server_names` gives for the name that the \
         client asks for. With certificates, `http` and `tcp` are spoken within TLS.",
    ),
    key(
        "cluster",
        Kind::Text(Form::Name),
        Preset::Else("none"),
        "\"shop\"",
        "For `tcp` the cluster, for `tls` the one for all names that are not in `server_names`.",
    ),
    key(
        "proxy_protocol",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Every connection must begin with a PROXY protocol header (version 1 or 2), whose client is then believed to be \
         the client. Only for addresses that nobody but load balancers can reach.",
    ),
    key(
        "client_authorities",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none: clients are asked for no certificate"),
        "\"/etc/muster/clients-ca.pem\"",
        "PEM file of the authorities whose client certificates are believed. Certificates of X.509 version 1, and those of \
         an authority used as a client's own, are refused.",
    ),
    key(
        "client_required",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "A client without a certificate of `client_authorities` is refused.",
    ),
    key(
        "client_header",
        Kind::Text(Form::HeaderName),
        Preset::Else("none"),
        "\"Client-Cert\"",
        "Header in which members get the client's certificate, as RFC 9440 has it. A client of this router cannot say \
         it itself, whatever listener it uses.",
    ),
];

pub const CERTIFICATE: &[Definition] = &[
    key(
        "certificate",
        Kind::Text(Form::AbsolutePath),
        Preset::Required,
        "\"/etc/muster/shop.pem\"",
        "PEM file: the server's own certificate first, then those that link it to its authority.",
    ),
    key(
        "key",
        Kind::Text(Form::AbsolutePath),
        Preset::Required,
        "\"/etc/muster/shop.key\"",
        "PEM file with the private key of the first certificate.",
    ),
];

pub const SERVER_NAME: &[Definition] = &[
    key(
        "name",
        Kind::Text(Form::ServerName),
        Preset::Required,
        "\"*.shop.example\"",
        "The name that the client asks for; `*.` at its start stands for one label.",
    ),
    key(
        "cluster",
        Kind::Text(Form::Name),
        Preset::Required,
        "\"shop\"",
        "The cluster that gets the connection.",
    ),
];

/// Of every member, and of `defaults`.
pub const TRANSPORT: &[Definition] = &[
    key(
        "tls",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Speak TLS with the member, also to probe it by HTTP. Its certificate must be of one of `tls_authorities` and \
         carry `tls_server_name`.",
    ),
    key(
        "tls_server_name",
        Kind::Text(Form::ServerName),
        Preset::Else("the member's address"),
        "\"shop.internal\"",
        "The name that the member's certificate must carry; it is also asked for.",
    ),
    key(
        "tls_authorities",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("those of the system"),
        "\"/etc/muster/members-ca.pem\"",
        "PEM file of the authorities that are believed.",
    ),
    key(
        "tls_certificate",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/etc/muster/router.pem\"",
        "PEM file of the router's own certificate, for members that want one; with `tls_key`.",
    ),
    key(
        "tls_key",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/etc/muster/router.key\"",
        "PEM file with the private key of `tls_certificate`.",
    ),
    key(
        "tls_unverified",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Believe any certificate, so that whoever can reach the network in between can read and change everything. \
         `muster check` and the log warn of it.",
    ),
    key(
        "proxy_protocol",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Begin each connection with a PROXY protocol header (version 2) that names the client. Such a connection \
         carries one request.",
    ),
];
