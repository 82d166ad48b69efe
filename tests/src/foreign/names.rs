//! DNS servers: BIND and Unbound, with the same zone.

use std::fmt::{self, Write as _};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use super::ForeignError;
use super::daemon::Daemon;
use super::namespace::Namespace;
use crate::network::address::{
    APPLICATION, APPLICATION_NAME, APPLICATION6, EDGE, EDGE_NAME, EDGE6, RESOLVER, RESOLVER6,
};

/// The zone of all names.
const ZONE: &str = "outgate.example";

/// How many addresses the edge has in a long answer: with them it is over 1232 bytes, the most that
/// is asked for by UDP.
pub const LONG_ANSWER_ADDRESSES: u8 = 100;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameServer {
    /// BIND's named, with authority for the zone.
    Bind,
    /// Unbound, which recurses to a copy of the zone and answers from its cache.
    Unbound,
}

/// What the edge's name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeAnswer {
    /// One address.
    Short,
    /// An alias, then [`LONG_ANSWER_ADDRESSES`] addresses from the edge's on: more than fits into
    /// UDP.
    Long,
    /// One address of IPv6, as the application has one too; none of IPv4.
    Ipv6,
}

impl NameServer {
    /// Its program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Bind => "named",
            Self::Unbound => "unbound",
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn start(
        self,
        namespace: &Namespace,
        folder: &Path,
        edge: EdgeAnswer,
    ) -> Result<Daemon, ForeignError> {
        let zone = folder.join("zone");
        fs::write(&zone, zone_text(edge))?;
        let file = folder.join(format!("{}.conf", self.program()));
        let (at, zone) = (folder.display().to_string(), zone.display().to_string());
        let (configuration, ready) = match self {
            Self::Bind => (bind(&at, &zone), "all zones loaded"),
            Self::Unbound => (unbound(&at, &zone), "start of service"),
        };
        fs::write(&file, configuration)?;
        let file = file.display().to_string();
        let arguments = match self {
            Self::Bind => ["-g", "-c", &file],
            Self::Unbound => ["-d", "-c", &file],
        };
        Daemon::start(namespace, folder, self.program(), &arguments, ready)
    }
}

/// The edge's addresses in a long answer.
pub fn edge_addresses() -> impl Iterator<Item = Ipv4Addr> {
    let [a, b, c, first] = EDGE.ip().octets();
    (0..LONG_ANSWER_ADDRESSES).map(move |index| Ipv4Addr::new(a, b, c, first + index))
}

fn zone_text(edge: EdgeAnswer) -> String {
    let mut text = format!(
        "$TTL 60\n\
         {ZONE}. IN SOA ns.{ZONE}. root.{ZONE}. 1 60 60 60 60\n\
         {ZONE}. IN NS ns.{ZONE}.\n\
         ns.{ZONE}. IN A {RESOLVER}\n"
    );
    let mut record = |name: &str, kind: &str, value: &dyn fmt::Display| {
        let _ = writeln!(text, "{name}. IN {kind} {value}");
    };
    if edge == EdgeAnswer::Ipv6 {
        record(APPLICATION_NAME, "AAAA", APPLICATION6.ip());
    } else {
        record(APPLICATION_NAME, "A", APPLICATION.ip());
    }
    match edge {
        EdgeAnswer::Short => record(EDGE_NAME, "A", EDGE.ip()),
        EdgeAnswer::Ipv6 => record(EDGE_NAME, "AAAA", EDGE6.ip()),
        EdgeAnswer::Long => {
            let many = format!("many.{ZONE}");
            record(EDGE_NAME, "CNAME", &format!("{many}."));
            for address in edge_addresses() {
                record(&many, "A", &address);
            }
        }
    }
    text
}

fn bind(folder: &str, zone: &str) -> String {
    format!(
        "options {{\n\
         directory \"{folder}\"; managed-keys-directory \"{folder}\";\n\
         listen-on {{ {RESOLVER}; }}; listen-on-v6 {{ {RESOLVER6}; }};\n\
         pid-file none; session-keyfile none; lock-file none;\n\
         recursion yes; allow-recursion {{ any; }}; dnssec-validation no;\n\
         querylog yes; empty-zones-enable no;\n}};\n\
         controls {{ }};\n\
         zone \"{ZONE}\" {{ type primary; file \"{zone}\"; }};\n"
    )
}

fn unbound(folder: &str, zone: &str) -> String {
    format!(
        "server:\n\
         interface: {RESOLVER}\ninterface: {RESOLVER6}\n\
         access-control: 10.77.0.0/24 allow\naccess-control: 2001:db8:77::/64 allow\n\
         chroot: \"\"\nusername: \"\"\ndirectory: \"{folder}\"\npidfile: \"\"\n\
         use-syslog: no\nlogfile: \"\"\nlog-queries: yes\nlog-replies: yes\n\
         module-config: \"iterator\"\n\
         auth-zone:\n\
         name: \"{ZONE}\"\nzonefile: \"{zone}\"\nfor-upstream: yes\nfor-downstream: no\n\
         remote-control:\ncontrol-enable: no\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_begins_with_the_edge_and_does_not_fit_into_udp() {
        let addresses: Vec<_> = edge_addresses().collect();
        assert_eq!(addresses[0], *EDGE.ip());
        assert_eq!(addresses[99], Ipv4Addr::new(203, 0, 113, 109));
        // A record is 16 bytes when its name is a pointer.
        assert!(addresses.len() * 16 > 1232);
        let text = zone_text(EdgeAnswer::Long);
        assert_eq!(text.matches("IN A 203.0.113.").count(), 100);
    }
}
