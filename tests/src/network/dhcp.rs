//! A DHCP server (RFC 2131, options of RFC 2132): a lease for each hardware address.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::hostile_dhcp;
use super::link::Chance;

use super::address::{GATEWAY, GATEWAY_MAC, GUEST, MASK, RESOLVER, TIME_SERVER};
use super::datagram::Datagram;

/// The port of servers.
pub const SERVER_PORT: u16 = 67;

/// The port of clients.
pub const CLIENT_PORT: u16 = 68;

/// Leases that can be given out.
const LEASES_MAX: usize = 32;

/// What leases say beside the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// How long a lease lasts, in whole seconds.
    pub duration: Duration,
    /// Time servers (option 42); the option is left out when there is none.
    pub time_servers: Vec<Ipv4Addr>,
    /// Resolvers (option 6); the option is left out when there is none.
    pub resolvers: Vec<Ipv4Addr>,
    /// The address of the first guest; the next guests get the ones after it. Who asks for another
    /// one is refused.
    pub first_address: Ipv4Addr,
    /// Further options: code and value of at most 255 bytes. Empty values are left out.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Each request is refused.
    pub is_refusing: bool,
    /// How many damaged copies precede each answer; see [`hostile_dhcp::damaged`].
    pub damaged_copies: u32,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(3600),
            time_servers: vec![TIME_SERVER],
            resolvers: vec![RESOLVER],
            first_address: GUEST,
            options: Vec::new(),
            is_refusing: false,
            damaged_copies: 0,
        }
    }
}

/// The server's memory: which hardware address has which lease.
#[derive(Debug, Default)]
pub struct DhcpServer {
    /// The position is the lease's distance from the first address.
    holders: Vec<[u8; 6]>,
}

impl DhcpServer {
    /// What arrives for a client's datagram: the answer, after damaged copies of it if so ordered.
    pub fn answers(
        &mut self,
        datagram: &Datagram,
        terms: &LeaseTerms,
        chance: &mut Chance,
    ) -> Vec<Datagram> {
        let Some(answer) = self.answer(datagram, terms) else {
            return Vec::new();
        };
        let copies = (0..terms.damaged_copies).map(|_| Datagram {
            payload: hostile_dhcp::damaged(&answer.payload, chance),
            ..answer.clone()
        });
        let mut all: Vec<_> = copies.collect();
        all.push(answer);
        all
    }

    /// The answer to a client's datagram, if it deserves one.
    pub fn answer(&mut self, datagram: &Datagram, terms: &LeaseTerms) -> Option<Datagram> {
        let request = Request::parse(&datagram.payload)?;
        let lease = self.lease_of(request.client_mac, terms.first_address)?;
        let kind = match request.kind {
            DISCOVER => OFFER,
            REQUEST if terms.is_refusing => NAK,
            REQUEST if request.server.is_some_and(|server| server != GATEWAY) => return None,
            REQUEST if request.wanted_address() == Some(lease) => ACK,
            REQUEST => NAK,
            INFORM => ACK,
            _ => return None,
        };
        let given = if request.kind == INFORM || kind == NAK {
            None
        } else {
            Some(lease)
        };
        let to_address = request.client_address.filter(|_| kind != NAK);
        let to_mac = match to_address {
            None if request.wants_broadcast || kind == NAK => BROADCAST_MAC,
            _ => request.client_mac,
        };
        Some(Datagram {
            from_mac: GATEWAY_MAC,
            to_mac,
            from: SocketAddrV4::new(GATEWAY, SERVER_PORT).into(),
            to: SocketAddrV4::new(to_address.unwrap_or(Ipv4Addr::BROADCAST), CLIENT_PORT).into(),
            payload: reply(&request, kind, given, terms),
        })
    }

    /// The lease of a hardware address: always the same. None when all are given out.
    fn lease_of(&mut self, mac: [u8; 6], first: Ipv4Addr) -> Option<Ipv4Addr> {
        let index = self
            .holders
            .iter()
            .position(|holder| *holder == mac)
            .or_else(|| {
                (self.holders.len() < LEASES_MAX).then(|| {
                    self.holders.push(mac);
                    self.holders.len() - 1
                })
            })?;
        Some(Ipv4Addr::from_bits(
            first.to_bits() + u32::try_from(index).ok()?,
        ))
    }
}

/// The parts of a client's message that matter.
#[derive(Debug)]
struct Request<'a> {
    head: &'a [u8; HEAD_BYTES],
    kind: u8,
    client_mac: [u8; 6],
    /// `ciaddr`: set by clients that have an address and renew it.
    client_address: Option<Ipv4Addr>,
    wants_broadcast: bool,
    /// Option 50.
    requested: Option<Ipv4Addr>,
    /// Option 54.
    server: Option<Ipv4Addr>,
}

impl<'a> Request<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let (head, rest) = message.split_first_chunk::<HEAD_BYTES>()?;
        let mut options = rest.strip_prefix(&MAGIC)?;
        let is_ethernet_request = head[..3] == [BOOT_REQUEST, ETHERNET, 6];
        if !is_ethernet_request {
            return None;
        }
        let mut request = Self {
            head,
            kind: 0,
            client_mac: head[28..34].try_into().ok()?,
            client_address: address(&head[12..16]).filter(|address| !address.is_unspecified()),
            wants_broadcast: head[10] & 0x80 != 0,
            requested: None,
            server: None,
        };
        while let Some((&code, after)) = options.split_first() {
            if code == OPTION_PAD {
                options = after;
                continue;
            }
            if code == OPTION_END {
                break;
            }
            let (&length, after) = after.split_first()?;
            let (value, after) = after.split_at_checked(usize::from(length))?;
            match code {
                OPTION_KIND => request.kind = *value.first()?,
                OPTION_REQUESTED => request.requested = address(value),
                OPTION_SERVER => request.server = address(value),
                _ => {}
            }
            options = after;
        }
        Some(request)
    }

    fn wanted_address(&self) -> Option<Ipv4Addr> {
        self.requested.or(self.client_address)
    }
}

fn reply(request: &Request<'_>, kind: u8, lease: Option<Ipv4Addr>, terms: &LeaseTerms) -> Vec<u8> {
    let mut message = vec![0; HEAD_BYTES];
    message[..4].copy_from_slice(&[BOOT_REPLY, ETHERNET, 6, 0]);
    // Transaction id, flags, client address and hardware address are the client's.
    message[4..8].copy_from_slice(&request.head[4..8]);
    message[10..16].copy_from_slice(&request.head[10..16]);
    message[28..44].copy_from_slice(&request.head[28..44]);
    if let Some(lease) = lease {
        message[16..20].copy_from_slice(&lease.octets());
    }
    message.extend(MAGIC);
    push_option(&mut message, OPTION_KIND, &[kind]);
    push_option(&mut message, OPTION_SERVER, &GATEWAY.octets());
    if kind != NAK {
        if lease.is_some() {
            let seconds = u32::try_from(terms.duration.as_secs()).unwrap_or(u32::MAX);
            push_option(&mut message, OPTION_DURATION, &seconds.to_be_bytes());
        }
        push_option(&mut message, OPTION_MASK, &MASK.octets());
        push_option(&mut message, OPTION_ROUTER, &GATEWAY.octets());
        push_option(&mut message, OPTION_RESOLVERS, &octets(&terms.resolvers));
        push_option(
            &mut message,
            OPTION_TIME_SERVERS,
            &octets(&terms.time_servers),
        );
        for (code, value) in &terms.options {
            push_option(&mut message, *code, value);
        }
    }
    message.push(OPTION_END);
    message
}

fn push_option(message: &mut Vec<u8>, code: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(0) | Err(_) => {}
        Ok(length) => {
            message.extend([code, length]);
            message.extend(value);
        }
    }
}

fn octets(addresses: &[Ipv4Addr]) -> Vec<u8> {
    addresses.iter().flat_map(Ipv4Addr::octets).collect()
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// From `op` to the end of `file`.
pub(crate) const HEAD_BYTES: usize = 236;
pub(crate) const MAGIC: [u8; 4] = [99, 130, 83, 99];
const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: u8 = 1;
pub(crate) const BROADCAST_MAC: [u8; 6] = [0xff; 6];

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

const OPTION_PAD: u8 = 0;
const OPTION_MASK: u8 = 1;
const OPTION_ROUTER: u8 = 3;
const OPTION_RESOLVERS: u8 = 6;
const OPTION_TIME_SERVERS: u8 = 42;
const OPTION_REQUESTED: u8 = 50;
const OPTION_DURATION: u8 = 51;
const OPTION_KIND: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_END: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};

    const MAC: [u8; 6] = [0, 0x50, 0x56, 0, 0, 1];

    #[test]
    fn a_discovery_is_offered_the_first_address_and_every_term() {
        let answer = ask(&mut DhcpServer::default(), &request(DISCOVER, MAC, &[])).unwrap();
        let packet = DhcpPacket::new_checked(&answer.payload[..]).unwrap();
        let offer = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(offer.message_type, DhcpMessageType::Offer);
        assert_eq!((offer.your_ip, offer.router), (GUEST, Some(GATEWAY)));
        assert_eq!(
            (offer.subnet_mask, offer.lease_duration),
            (Some(MASK), Some(3600))
        );
        assert_eq!(offer.dns_servers.unwrap().as_slice(), [RESOLVER]);
        let times = packet
            .options()
            .find(|option| option.kind == OPTION_TIME_SERVERS)
            .unwrap();
        assert_eq!(times.data, TIME_SERVER.octets());
    }

    #[test]
    fn each_hardware_address_keeps_its_own_lease() {
        let mut server = DhcpServer::default();
        let mut lease = |mac| {
            let answer = ask(&mut server, &request(DISCOVER, mac, &[])).unwrap();
            answer.payload[19]
        };
        assert_eq!((lease(MAC), lease([2; 6]), lease(MAC)), (15, 16, 15));
    }

    #[test]
    fn a_request_for_another_address_is_refused() {
        let mut server = DhcpServer::default();
        let right = request(REQUEST, MAC, &[OPTION_REQUESTED, 4, 10, 77, 0, 15]);
        assert_eq!(kind(&ask(&mut server, &right).unwrap()), ACK);
        let wrong = request(REQUEST, MAC, &[OPTION_REQUESTED, 4, 10, 9, 0, 15]);
        assert_eq!(kind(&ask(&mut server, &wrong).unwrap()), NAK);
    }

    #[test]
    fn a_request_to_another_server_is_not_answered() {
        let other = request(REQUEST, MAC, &[OPTION_SERVER, 4, 10, 77, 0, 2]);
        assert_eq!(ask(&mut DhcpServer::default(), &other), None);
    }

    #[test]
    fn a_truncated_message_is_not_answered_wrongly() {
        let whole = request(DISCOVER, MAC, &[OPTION_REQUESTED, 4, 10, 77, 0, 15]);
        for length in 0..HEAD_BYTES + MAGIC.len() + 3 {
            assert_eq!(
                ask(&mut DhcpServer::default(), &whole[..length]),
                None,
                "{length}"
            );
        }
    }

    fn request(kind: u8, mac: [u8; 6], options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEAD_BYTES];
        message[..3].copy_from_slice(&[BOOT_REQUEST, ETHERNET, 6]);
        message[28..34].copy_from_slice(&mac);
        message.extend(MAGIC);
        message.extend([OPTION_KIND, 1, kind]);
        message.extend(options);
        message.push(OPTION_END);
        message
    }

    fn ask(server: &mut DhcpServer, message: &[u8]) -> Option<Datagram> {
        let datagram = Datagram {
            from_mac: MAC,
            to_mac: BROADCAST_MAC,
            from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into(),
            to: SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT).into(),
            payload: message.to_vec(),
        };
        server.answer(&datagram, &LeaseTerms::default())
    }

    fn kind(answer: &Datagram) -> u8 {
        answer.payload[HEAD_BYTES + MAGIC.len() + 2]
    }
}
