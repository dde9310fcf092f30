//! plugin-cfg.xml as a document: read, judged, merged, compared and written.
//!
//! Pure: bytes and text in, documents and findings out. The facts are those of the vendor's reference and of files in
//! use. Not here: serving from such a file (the router's), files and commands (`muster::cli`).

pub mod check;
pub mod definition;
pub mod diff;
pub mod explain;
pub mod graph;
mod layout;
mod matching;
pub mod merge;
mod model;
mod parse;
mod read;
pub mod retry;
pub mod serve;
mod weights;
pub mod write;
pub mod xml;

pub use matching::{HostPattern, UriPattern, find_route, plain_path};
pub use model::{
    Config, Connector, ConnectorCluster, DEFAULT_WEIGHT, Document, Filter, IntelligentManagement,
    LoadBalance, Log, PortPreference, Problem, Property, RequestMetrics, Route, Server, ServerCluster,
    ServerName, Transport, TransportProtocol, TrustedProxy, Uri, UriGroup, VirtualHost, VirtualHostGroup,
};
pub use parse::{ReadError, parse as read_xml};
pub use read::{from_file, read};

#[cfg(test)]
mod tests;
