//! The servers that answer datagrams: DHCP, resolvers, time servers.

use std::time::Duration;

use super::address::GATEWAY_MAC;
use super::datagram::Datagram;
use super::dhcp::{self, DhcpServer};
use super::link::Chance;
use super::settings::Settings;
use super::{dns, ntp};

/// Their memory.
#[derive(Debug)]
pub(crate) struct Servers {
    dhcp: DhcpServer,
    chance: Chance,
}

impl Servers {
    /// Servers whose rubbish depends on `seed` only.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dhcp: DhcpServer::default(),
            chance: Chance::new(seed),
        }
    }

    /// What the one server that a datagram is for sends, each with the time from the datagram on.
    pub(crate) fn answers(
        &mut self,
        settings: &Settings,
        datagram: &Datagram,
    ) -> Vec<(Duration, Datagram)> {
        let faults = &settings.faults;
        let (host, port) = (datagram.to.ip(), datagram.to.port());
        let payloads = match port {
            dhcp::SERVER_PORT if !faults.dhcp_silent => {
                let terms = &settings.lease_terms;
                let answers = self.dhcp.answers(datagram, terms, &mut self.chance);
                return answers
                    .into_iter()
                    .map(|answer| (Duration::ZERO, answer))
                    .collect();
            }
            dns::PORT if !faults.dns_silent => settings.resolvers.get(&host).map(|resolver| {
                resolver.answers(&datagram.payload, &settings.names, &mut self.chance)
            }),
            ntp::PORT if !faults.ntp_silent => settings
                .time_servers
                .get(&host)
                .map(|server| server.answers(&datagram.payload, &mut self.chance)),
            _ => None,
        };
        payloads
            .into_iter()
            .flatten()
            .map(|(at, payload)| (at, datagram.answer(GATEWAY_MAC, payload)))
            .collect()
    }
}
