use std::io::Write;
use std::mem::size_of;
use std::net::{Shutdown, TcpStream};

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;

use super::side::{Means, turn};
use super::*;
use crate::engine::{Flow, Progress, in_place};
use crate::loopback::sockets;
use crate::reactor::{Kind, open};

#[test]
fn an_idle_session_is_smaller_than_a_kilobyte_and_a_half() {
    let engines = size_of::<in_place::Outward>() + size_of::<in_place::Inward>();
    let rekey = size_of::<KernelConnection<ClientConnectionData>>();
    let own = size_of::<Session>() + size_of::<Link>();
    println!("{own} bytes, {engines} of the engines, {rekey} for KeyUpdates");
    assert!(own <= 320, "{own}");
    assert!(own + engines + rekey <= 1500, "{own} {engines} {rekey}");
}

/// An engine that takes a read of less than it asked for as `EAGAIN`.
fn short_reads(read: &mut Vec<u8>) -> impl FnMut(&mut Flow<'_>) -> Result<Progress, Broken> {
    |flow| {
        let mut buffer = [0; 64];
        while *flow.readable {
            let length = rustix::io::read(flow.source, &mut buffer).unwrap_or(0);
            *flow.readable = length == buffer.len();
            read.extend(&buffer[..length]);
            *flow.carried += length as u64;
            if length == 0 {
                return Ok(Progress::Ended);
            }
        }
        Ok(Progress::Waiting)
    }
}

#[test]
fn an_end_of_file_that_was_told_with_the_last_bytes_is_found_after_them() {
    for length in [0, 1, 63, 64, 65, 1000] {
        let (mut peer, source, sink) = sides();
        let mut reactor = open(Kind::Epoll).unwrap();
        let mut session_side = Side::new(source);
        session_side.watch(&mut *reactor, 1).unwrap();
        peer.write_all(&vec![7; length]).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut ready = vec![];
        while !ready.iter().any(|one: &Ready| one.ended) {
            reactor.wait(None, &mut ready).unwrap();
        }
        ready.iter().for_each(|one| session_side.mark(one));
        let mut sink = Side::new(sink);
        sink.writable = true;
        let mut read = vec![];
        let progress = one_turn(&mut session_side, &mut sink, short_reads(&mut read));
        assert_eq!((progress, read.len()), (Progress::Ended, length));
    }
}

#[test]
fn without_an_end_a_turn_is_not_repeated() {
    let (mut peer, source, sink) = sides();
    peer.write_all(b"x").unwrap();
    let (mut source, mut sink) = (Side::new(source), Side::new(sink));
    sink.writable = true;
    let mut turns = 0;
    let progress = one_turn(&mut source, &mut sink, |flow| {
        turns += 1;
        *flow.carried += 1;
        Ok(Progress::Waiting)
    });
    assert_eq!((progress, turns), (Progress::Waiting, 1));
}

fn one_turn(
    source: &mut Side,
    sink: &mut Side,
    engine: impl FnMut(&mut Flow<'_>) -> Result<Progress, Broken>,
) -> Progress {
    let (mut budget, mut carried) = (TURN_BUDGET, 0);
    let mut means = Means {
        budget: &mut budget,
        carried: &mut carried,
        buffers: &mut Buffers::default(),
    };
    turn(source, sink, &mut means, engine).unwrap()
}

/// A peer, its connection, and a connection that can be written.
fn sides() -> (TcpStream, TcpStream, TcpStream) {
    let (peer, source) = sockets();
    let (_, sink) = sockets();
    source.set_nonblocking(true).unwrap();
    (peer, source, sink)
}
