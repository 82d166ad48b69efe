use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use splice_core::reactor::Kind;

use super::*;
use crate::clock;
use crate::waiting::Waiting;

const HOST: &str = "edge.example";

#[test]
fn a_name_is_looked_up_for_both_families_through_real_sockets() {
    let server = Server::start(Behaviour::Honest);
    let found = server.look_up(&[LOOPBACK], &[]).unwrap();
    assert_eq!(
        found,
        [
            IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
            IpAddr::from([10, 0, 0, 7])
        ]
    );
}

#[test]
fn a_truncated_answer_is_fetched_over_tcp() {
    let server = Server::start(Behaviour::Truncating);
    assert_eq!(server.look_up(&[LOOPBACK], &[]).unwrap().len(), 2);
}

#[test]
fn what_another_host_sends_never_reaches_the_resolution() {
    let server = Server::start(Behaviour::ForgedFromElsewhere);
    let started = start_at(server.port, &[LOOPBACK], &[]);
    let Step::Pending(lookup) = started else {
        panic!("{started:?}");
    };
    let (found, ignored) = finish(lookup);
    assert_eq!(found.unwrap().len(), 2);
    assert_eq!(ignored, 0, "the kernel dropped it");
}

#[test]
fn a_second_resolver_answers_where_the_first_one_is_not_there() {
    let server = Server::start(Behaviour::Honest);
    // Nothing listens on this address: the kernel says so by ICMP.
    let absent = IpAddr::from([127, 0, 0, 2]);
    assert_eq!(server.look_up(&[absent, LOOPBACK], &[]).unwrap().len(), 2);
}

#[test]
fn remembered_addresses_are_found_when_no_resolver_is_there() {
    let remembered = [IpAddr::from([203, 0, 113, 10])];
    let begun = clock::now();
    let absent = UdpSocket::bind((LOOPBACK, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let step = start_at(absent, &[LOOPBACK], &remembered);
    let Step::Pending(lookup) = step else {
        panic!("{step:?}");
    };
    assert_eq!(finish(lookup).0.unwrap(), remembered);
    assert!(clock::now().since(begun) >= Duration::from_secs(1));
}

#[test]
fn an_address_is_found_without_asking() {
    for host in ["192.0.2.7", "2001:db8::7"] {
        let step = start(clock::now(), host, &[], &[]);
        assert!(
            matches!(&step, Step::Found(found) if found[..] == [host.parse::<IpAddr>().unwrap()]),
            "{step:?}"
        );
    }
}

#[test]
fn two_lookups_share_neither_ids_nor_ports() {
    let server = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let _lookups = [
        start_at(port, &[LOOPBACK], &[]),
        start_at(port, &[LOOPBACK], &[]),
    ];
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut buffer = [0; 512];
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        seen.push(((buffer[0], buffer[1]), from.port()));
    }
    let mut ports: Vec<u16> = seen.iter().map(|(_, port)| *port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 4, "{seen:?}");
    // Four random ids of 16 bits are equal once in 2^48.
    assert!(seen.iter().any(|(id, _)| *id != seen[0].0), "{seen:?}");
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn start_at(port: u16, resolvers: &[IpAddr], remembered: &[IpAddr]) -> Step {
    begin(clock::now(), HOST, resolvers, remembered, port)
}

/// Waits as the event loop does, and tells how many datagrams were ignored.
fn finish(mut lookup: Lookup) -> (Result<Vec<IpAddr>, LookupError>, u32) {
    let mut waiting = Waiting::open(Kind::Best).unwrap();
    loop {
        let ignored = lookup.resolution.ignored();
        waiting.set(1, |watch| {
            lookup.watch(watch);
            watch.until(Some(lookup.deadline()));
        });
        waiting.wait().unwrap();
        match lookup.turn(clock::now()) {
            Step::Pending(next) => lookup = next,
            Step::Found(found) => return (Ok(found), ignored),
            Step::Failed(error) => return (Err(error), ignored),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Honest,
    /// Whole answers over TCP only.
    Truncating,
    /// Honest, after another host's datagram with the right id and question.
    ForgedFromElsewhere,
}

/// A resolver on the loopback interface that knows one name. Its threads end with the process.
struct Server {
    port: u16,
}

impl Server {
    fn start(behaviour: Behaviour) -> Self {
        // A port that is free for both.
        let (udp, port, tcp) = loop {
            let udp = UdpSocket::bind((LOOPBACK, 0)).unwrap();
            let port = udp.local_addr().unwrap().port();
            if let Ok(tcp) = TcpListener::bind((LOOPBACK, port)) {
                break (udp, port, tcp);
            }
        };
        if behaviour == Behaviour::Truncating {
            thread::spawn(move || serve_tcp(&tcp));
        }
        thread::spawn(move || serve_udp(&udp, behaviour));
        Self { port }
    }

    fn look_up(
        &self,
        resolvers: &[IpAddr],
        remembered: &[IpAddr],
    ) -> Result<Vec<IpAddr>, LookupError> {
        match start_at(self.port, resolvers, remembered) {
            Step::Pending(lookup) => finish(lookup).0,
            Step::Found(found) => Ok(found),
            Step::Failed(error) => Err(error),
        }
    }
}

fn serve_udp(socket: &UdpSocket, behaviour: Behaviour) {
    let elsewhere = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 3), 0)).unwrap();
    let mut buffer = [0; 512];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        let mut answer = answer(&buffer[..len]);
        match behaviour {
            Behaviour::Honest => {}
            Behaviour::Truncating => answer[2] |= 2,
            Behaviour::ForgedFromElsewhere => {
                elsewhere.send_to(&answer, from).unwrap();
            }
        }
        socket.send_to(&answer, from).unwrap();
    }
}

fn serve_tcp(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap();
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut query).unwrap();
        let answer = answer(&query);
        let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
        stream.write_all(&[&len[..], &answer].concat()).unwrap();
    }
}

/// One address of the family that is asked for, ending in 7.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    bytes[7] = 1;
    bytes.extend(b"\xc0\x0c");
    bytes.extend(&query[query.len() - 4..]);
    bytes.extend(b"\x00\x00\x00\x3c");
    if query[query.len() - 3] == 1 {
        bytes.extend([0, 4, 10, 0, 0, 7]);
    } else {
        bytes.extend([0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }
    bytes
}
