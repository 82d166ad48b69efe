//! The servers that answer datagrams: DHCP, resolvers, time servers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::GATEWAY_MAC;
use super::datagram::Datagram;
use super::dhcp::{self, DhcpServer};
use super::dns::Names;
use super::link::Chance;
use super::settings::Settings;
use super::{dns, ntp};

/// Their memory.
#[derive(Debug)]
pub(crate) struct Servers {
    dhcp: DhcpServer,
    chance: Chance,
    /// How often each name was asked for whose addresses take turns.
    asked: BTreeMap<String, usize>,
}

impl Servers {
    /// Servers whose rubbish depends on `seed` only.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dhcp: DhcpServer::default(),
            chance: Chance::new(seed),
            asked: BTreeMap::new(),
        }
    }

    /// The names as they are for this question.
    fn names(&mut self, settings: &Settings, query: &[u8]) -> Names {
        let mut names = settings.names.clone();
        let Some(name) = dns::asked_for_ipv4(query) else {
            return names;
        };
        if let Some(turns) = settings.turns.get(&name)
            && let Some(last) = turns.len().checked_sub(1)
        {
            let asked = self.asked.entry(name.clone()).or_default();
            names.insert(name, vec![turns[last.min(*asked)]]);
            *asked += 1;
        }
        names
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
                let names = self.names(settings, &datagram.payload);
                resolver.answers(&datagram.payload, &names, &mut self.chance)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::http::RequestLog;

    #[test]
    fn addresses_that_take_turns_are_others_at_each_question_and_the_last_stays() {
        let mut settings = Settings::new(&RequestLog::default());
        let turns = [[10, 0, 0, 1], [127, 0, 0, 1]].map(std::net::IpAddr::from);
        settings.turns.insert("a".to_owned(), turns.to_vec());
        let query = |kind: u8| {
            let head = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            [&head[..], &[1, b'A', 0, 0, kind, 0, 1]].concat()
        };
        let mut servers = Servers::new(1);
        let mut ask = |kind| servers.names(&settings, &query(kind)).get("a").cloned();
        assert_eq!(ask(28), None, "the other family takes no turn");
        let answers = [ask(1), ask(1), ask(1)].map(|addresses| addresses.unwrap_or_default());
        assert_eq!(answers, [[turns[0]], [turns[1]], [turns[1]]]);
    }
}
