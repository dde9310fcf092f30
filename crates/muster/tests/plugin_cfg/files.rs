//! Writes plugin-cfg.xml files for tests, as a vendor's generator would.

use std::fmt::{self, Display};
use std::net::SocketAddr;

/// A Server element.
pub struct Server {
    name: String,
    attributes: String,
    children: String,
}

impl Server {
    /// With one http transport.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self::without_transport(name).transport("http", &address.ip().to_string(), address.port())
    }

    pub fn without_transport(name: &str) -> Self {
        Self { name: name.to_owned(), attributes: String::new(), children: String::new() }
    }

    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.attributes += &format!(" {name}=\"{value}\"");
        self
    }

    pub fn transport(mut self, protocol: &str, host: &str, port: u16) -> Self {
        self.children +=
            &format!("<Transport Hostname=\"{host}\" Port=\"{port}\" Protocol=\"{protocol}\"/>\n");
        self
    }

    /// An https transport with this keyring.
    pub fn secure_transport(mut self, host: &str, port: u16, keyring: &str) -> Self {
        self.children += &format!(
            "<Transport Hostname=\"{host}\" Port=\"{port}\" Protocol=\"https\">\
             <Property Name=\"keyring\" Value=\"{keyring}\"/></Transport>\n"
        );
        self
    }

    fn element(&self, element: &str) -> String {
        format!("<{element} Name=\"{}\"{}>{}</{element}>\n", self.name, self.attributes, self.children)
    }
}

/// A ServerCluster element.
pub struct Cluster {
    name: String,
    attributes: String,
    children: String,
}

impl Cluster {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), attributes: String::new(), children: String::new() }
    }

    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.attributes += &format!(" {name}=\"{value}\"");
        self
    }

    pub fn server(mut self, server: Server) -> Self {
        self.children += &server.element("Server");
        self
    }

    pub fn cluster_address(mut self, server: Server) -> Self {
        self.children += &server.element("ClusterAddress");
        self
    }

    /// PrimaryServers or BackupServers.
    pub fn list(mut self, element: &str, names: &[&str]) -> Self {
        let names: String = names.iter().map(|name| format!("<Server Name=\"{name}\"/>")).collect();
        self.children += &format!("<{element}>{names}</{element}>\n");
        self
    }
}

/// The whole file.
#[derive(Default)]
pub struct File {
    attributes: String,
    children: String,
}

impl File {
    pub fn new() -> Self {
        Self::default()
    }

    /// One cluster that gets everything.
    pub fn simple(cluster: Cluster) -> Self {
        let name = cluster.name.clone();
        Self::new().cluster(cluster).hosts("any", &["*:*"]).uris("all", &["/*"]).route(&name, "all", "any")
    }

    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.attributes += &format!(" {name}=\"{value}\"");
        self
    }

    pub fn raw(mut self, text: &str) -> Self {
        self.children += text;
        self
    }

    pub fn cluster(self, cluster: Cluster) -> Self {
        let Cluster { name, attributes, children } = cluster;
        self.raw(&format!("<ServerCluster Name=\"{name}\"{attributes}>\n{children}</ServerCluster>\n"))
    }

    pub fn hosts(self, name: &str, hosts: &[&str]) -> Self {
        let hosts: String = hosts.iter().map(|host| format!("<VirtualHost Name=\"{host}\"/>")).collect();
        self.raw(&format!("<VirtualHostGroup Name=\"{name}\">{hosts}</VirtualHostGroup>\n"))
    }

    pub fn uris(self, name: &str, uris: &[&str]) -> Self {
        let uris: String = uris.iter().map(|uri| format!("<Uri Name=\"{uri}\"/>")).collect();
        self.raw(&format!("<UriGroup Name=\"{name}\">{uris}</UriGroup>\n"))
    }

    pub fn route(self, cluster: &str, uris: &str, hosts: &str) -> Self {
        self.raw(&format!(
            "<Route ServerCluster=\"{cluster}\" UriGroup=\"{uris}\" VirtualHostGroup=\"{hosts}\"/>\n"
        ))
    }
}

impl Display for File {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "<?xml version=\"1.0\"?>\n<Config{}>\n{}</Config>\n", self.attributes, self.children)
    }
}
