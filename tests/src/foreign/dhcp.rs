//! DHCP servers: dnsmasq, ISC's dhcpd, Kea. All lend the same addresses on the same terms.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use super::ForeignError;
use super::daemon::Daemon;
use super::namespace::{BRIDGE, Namespace};
use crate::network::address::{GATEWAY, MASK, RESOLVER, TIME_SERVER};

/// The first address that is lent.
pub const POOL_FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
/// The last one.
pub const POOL_LAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 29);

/// Seconds an address is lent for: the shortest that the appliance takes. dnsmasq makes it 120.
const LEASE_S: u32 = 60;
/// Seconds until a client is to renew (T1): the shortest that the appliance takes.
const RENEW_S: u32 = 30;
/// Seconds until it is to ask any server (T2).
const REBIND_S: u32 = 50;

/// Another machine, to which an address may belong.
const OTHER_MAC: &str = "02:00:00:00:00:99";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpServer {
    /// dnsmasq, as in many routers.
    Dnsmasq,
    /// The dhcpd of ISC.
    Isc,
    /// Kea, its successor.
    Kea,
}

impl DhcpServer {
    /// Its program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Isc => "dhcpd",
            Self::Kea => "kea-dhcp4",
        }
    }

    /// What its log says when it has granted or renewed a lease.
    pub fn granted(self) -> &'static str {
        "DHCPACK"
    }

    /// What its log says when it has refused one.
    pub fn refused(self) -> &'static str {
        "DHCPNAK"
    }

    /// Starts it, knowing of no lease. `taken` belongs to another machine.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn start(
        self,
        namespace: &Namespace,
        folder: &Path,
        taken: Option<Ipv4Addr>,
    ) -> Result<Daemon, ForeignError> {
        match self {
            Self::Dnsmasq => start_dnsmasq(namespace, folder, taken),
            Self::Isc => start_isc(namespace, folder, taken),
            Self::Kea => start_kea(namespace, folder, taken),
        }
    }
}

fn start_dnsmasq(
    namespace: &Namespace,
    folder: &Path,
    taken: Option<Ipv4Addr>,
) -> Result<Daemon, ForeignError> {
    let leases = folder.join("dnsmasq.leases");
    fs::write(&leases, "")?;
    let leases = leases.display();
    let mut configuration = format!(
        "user=\ngroup=\nport=0\npid-file=\ndhcp-leasefile={leases}\n\
         interface={BRIDGE}\nbind-interfaces\ndhcp-authoritative\nno-ping\n\
         dhcp-range={POOL_FIRST},{POOL_LAST},{MASK},{LEASE_S}\n\
         dhcp-option=option:router,{GATEWAY}\n\
         dhcp-option=option:dns-server,{RESOLVER}\n\
         dhcp-option=option:ntp-server,{TIME_SERVER}\n\
         dhcp-option=option:T1,{RENEW_S}\n\
         dhcp-option=option:T2,{REBIND_S}\n"
    );
    if let Some(taken) = taken {
        configuration += &format!("dhcp-host={OTHER_MAC},{taken}\n");
    }
    let file = folder.join("dnsmasq.conf");
    fs::write(&file, configuration)?;
    let file = format!("--conf-file={}", file.display());
    let arguments = ["--keep-in-foreground", "--log-facility=-", &file];
    let ready = "sockets bound exclusively";
    Daemon::start(
        namespace,
        folder,
        DhcpServer::Dnsmasq.program(),
        &arguments,
        ready,
    )
}

fn start_isc(
    namespace: &Namespace,
    folder: &Path,
    taken: Option<Ipv4Addr>,
) -> Result<Daemon, ForeignError> {
    let leases = folder.join("dhcpd.leases");
    let lease = taken.map(|taken| {
        format!(
            "lease {taken} {{ starts epoch 0; ends never; binding state active; \
             hardware ethernet {OTHER_MAC}; }}\n"
        )
    });
    fs::write(&leases, lease.unwrap_or_default())?;
    let configuration = format!(
        "authoritative;\nping-check false;\n\
         default-lease-time {LEASE_S};\nmax-lease-time {LEASE_S};\n\
         option dhcp-renewal-time {RENEW_S};\noption dhcp-rebinding-time {REBIND_S};\n\
         subnet 10.77.0.0 netmask {MASK} {{\n\
         range {POOL_FIRST} {POOL_LAST};\noption routers {GATEWAY};\n\
         option domain-name-servers {RESOLVER};\noption ntp-servers {TIME_SERVER};\n}}\n"
    );
    let file = folder.join("dhcpd.conf");
    fs::write(&file, configuration)?;
    let (file, leases) = (file.display().to_string(), leases.display().to_string());
    let arguments = [
        "-4", "-f", "-d", "--no-pid", "-cf", &file, "-lf", &leases, BRIDGE,
    ];
    let ready = "Server starting service";
    Daemon::start(
        namespace,
        folder,
        DhcpServer::Isc.program(),
        &arguments,
        ready,
    )
}

fn start_kea(
    namespace: &Namespace,
    folder: &Path,
    taken: Option<Ipv4Addr>,
) -> Result<Daemon, ForeignError> {
    let option = |name: &str, data: Ipv4Addr| format!(r#"{{"name":"{name}","data":"{data}"}}"#);
    let options = [
        option("routers", GATEWAY),
        option("domain-name-servers", RESOLVER),
        option("ntp-servers", TIME_SERVER),
    ]
    .join(",");
    let reservation = taken.map_or_else(String::new, |taken| {
        format!(r#"{{"hw-address":"{OTHER_MAC}","ip-address":"{taken}"}}"#)
    });
    // Packets are logged with their types, which is what stories wait for. The address beside the
    // interface keeps it to one socket: the bridge has more addresses.
    let logger = r#""output_options":[{"output":"stdout"}]"#;
    let configuration = format!(
        r#"{{"Dhcp4":{{"interfaces-config":{{"interfaces":["{BRIDGE}/{GATEWAY}"]}},
"lease-database":{{"type":"memfile","persist":false}},"authoritative":true,
"valid-lifetime":{LEASE_S},"renew-timer":{RENEW_S},"rebind-timer":{REBIND_S},
"subnet4":[{{"subnet":"10.77.0.0/24","pools":[{{"pool":"{POOL_FIRST}-{POOL_LAST}"}}],
"reservations":[{reservation}],"option-data":[{options}]}}],
"loggers":[{{"name":"kea-dhcp4",{logger},"severity":"INFO"}},
{{"name":"kea-dhcp4.packets",{logger},"severity":"DEBUG","debuglevel":99}}]}}}}
"#
    );
    let file = folder.join("kea.json");
    fs::write(&file, configuration)?;
    let file = file.display().to_string();
    let ready = "DHCP4_STARTED";
    Daemon::start(
        namespace,
        folder,
        DhcpServer::Kea.program(),
        &["-c", &file],
        ready,
    )
}
