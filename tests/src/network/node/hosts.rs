//! The node's side of the switch: neighbours, servers, and the TCP stack behind them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol};

use super::super::address::{GATEWAY, GATEWAY6, GATEWAY6_GLOBAL};
use super::super::datagram::Datagram;
use super::super::router::{self, Question};
use super::super::segment::Segment;
use super::super::settings::{Settings, is_edge};
use super::Node;

impl Node {
    /// Acts on a frame for the node itself.
    pub(super) fn node_input(&mut self, settings: &Settings, frame: &[u8]) {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
            return;
        };
        match ethernet.ethertype() {
            EthernetProtocol::Arp if asks_for_a_host(settings, ethernet.payload()) => {
                self.stack_input(settings, frame);
            }
            EthernetProtocol::Ipv4 => self.ip_from_guest(settings, frame),
            EthernetProtocol::Ipv6 if settings.router.is_some() => match router::question(frame) {
                Some(question) => self.answer_neighbour(settings, question),
                None => self.ip_from_guest(settings, frame),
            },
            EthernetProtocol::Arp | EthernetProtocol::Ipv6 | EthernetProtocol::Unknown(_) => {}
        }
    }

    fn answer_neighbour(&mut self, settings: &Settings, question: Question) {
        match question {
            Question::Router => self.advertise(settings),
            Question::Neighbour {
                target,
                asker,
                asker_mac,
            } if is_neighbour(settings, target) => {
                let answer = router::neighbour(target, asker, asker_mac);
                self.send_to(settings, answer);
            }
            Question::Neighbour { .. } => {}
        }
    }

    pub(super) fn advertise(&mut self, settings: &Settings) {
        if let Some(terms) = &settings.router {
            self.send_to(settings, terms.advertisement());
        }
    }

    fn ip_from_guest(&mut self, settings: &Settings, frame: &[u8]) {
        if let Some(datagram) = Datagram::parse(frame) {
            let now = Instant::now();
            for (at, answer) in self.servers.answers(settings, &datagram) {
                if at.is_zero() {
                    self.send_to(settings, answer.emit());
                } else {
                    self.later.push(now, at, answer.emit());
                }
            }
            return;
        }
        let Some(segment) = Segment::parse(frame) else {
            let is_ipv6 = frame.get(12..14) == Some(&IPV6_ETHERTYPE);
            if is_ipv6 {
                // An answer to what the stack asked its neighbours.
                self.stack_input(settings, frame);
            }
            return;
        };
        let host = segment.to.ip();
        if settings.swallows(host, frame.len()) || !settings.has_host(host) {
            return;
        }
        let key = (segment.from, segment.to);
        let answerer = settings.answerer(segment.to).filter(|_| segment.opens);
        if let Some(answerer) = &answerer {
            self.flows.arm(&mut self.sockets, key, answerer);
        }
        self.stack_input(settings, frame);
        if answerer.is_some() {
            self.flows.disarm(&mut self.sockets, &key);
        }
    }

    pub(super) fn send_what_is_due(&mut self, settings: &Settings) {
        let now = Instant::now();
        while let Some(frame) = self.later.pop(now) {
            self.send_to(settings, frame);
        }
    }

    fn stack_input(&mut self, settings: &Settings, frame: &[u8]) {
        self.wire.incoming.push_back(frame.to_vec());
        self.poll_stack(settings);
    }

    /// Lets the TCP stack work until it has nothing to do now.
    pub(super) fn poll_stack(&mut self, settings: &Settings) {
        let now = self.wire_now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.flows.pump(&mut self.sockets);
        // What the pump read and wrote opens windows and fills segments.
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        while let Some(frame) = self.wire.outgoing.pop_front() {
            let from = Segment::parse(&frame).map(|segment| segment.from.ip());
            if !from.is_some_and(|host| settings.swallows(host, frame.len())) {
                self.send_to(settings, frame);
            }
        }
    }
}

/// Whether an ARP packet is a question for an address of the node, or an answer to the node.
fn asks_for_a_host(settings: &Settings, payload: &[u8]) -> bool {
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        target_protocol_addr,
        ..
    }) = ArpPacket::new_checked(payload).and_then(|packet| ArpRepr::parse(&packet))
    else {
        return false;
    };
    let address = IpAddr::V4(target_protocol_addr);
    operation == ArpOperation::Reply
        || target_protocol_addr == GATEWAY
        || (!is_edge(address) && settings.has_host(address))
}

/// Whether a host on the guests' own link has this IPv6 address.
fn is_neighbour(settings: &Settings, address: Ipv6Addr) -> bool {
    let host = IpAddr::V6(address);
    [GATEWAY6, GATEWAY6_GLOBAL].contains(&address) || (!is_edge(host) && settings.has_host(host))
}

const IPV6_ETHERTYPE: [u8; 2] = [0x86, 0xdd];
