//! On whatever kernel the tests run: with TLS or without, what was wanted of the kernel is carried.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;

use crate::buffers::Buffers;
use crate::channel::Channel;
use crate::engine::{self, Engine, Flow, Outward, Progress};
use crate::loopback::{pair, sockets};

use super::is_available;

#[test]
fn where_the_kernel_has_no_tls_user_space_carries_every_byte_that_was_meant_for_it() {
    let (near, far) = pair();
    let expected = match is_available(&near.socket) {
        true => Engine::Kernel,
        false => Engine::InPlace,
    };
    let ((mut application, plain), (user_far, user)) = (sockets(), sockets());
    for socket in [&plain, &user_far] {
        socket.set_nonblocking(true).unwrap();
    }
    let Channel {
        socket, outward, ..
    } = near;
    let mut outward = engine::outward(&socket, outward, Engine::Kernel).unwrap();
    let mut inward = engine::inward(&far.socket, far.inward, Engine::Kernel).unwrap();
    assert_eq!((outward.engine(), inward.engine()), (expected, expected));

    let sent: Vec<u8> = (0..70_000_u32).flat_map(u32::to_le_bytes).collect();
    let reader = std::thread::spawn(|| read_to_end(user));
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || {
            application.write_all(&sent).unwrap();
            application.shutdown(Shutdown::Write).unwrap();
            application
        }
    });
    let mut buffers = Buffers::default();
    let mut rekey = far.rekey;
    let mut carried = (0, 0);
    loop {
        let ended = outward_turn(&mut *outward, &plain, &socket, &mut carried.0, &mut buffers);
        let mut flow = Flow {
            source: far.socket.as_fd(),
            sink: user_far.as_fd(),
            readable: &mut true,
            writable: &mut true,
            budget: &mut usize::MAX.clone(),
            carried: &mut carried.1,
            buffers: &mut buffers,
        };
        let arrived = inward.turn(&mut flow, &mut rekey).unwrap();
        if (ended, arrived) == (Progress::Ended, Progress::Ended) {
            break;
        }
        std::thread::yield_now();
    }
    let len = sent.len() as u64;
    assert_eq!(carried, (len, len));
    assert!(reader.join().unwrap() == sent);
    drop(writer.join().unwrap());
}

fn outward_turn(
    outward: &mut dyn Outward,
    plain: &TcpStream,
    channel: &TcpStream,
    carried: &mut u64,
    buffers: &mut Buffers,
) -> Progress {
    let mut flow = Flow {
        source: plain.as_fd(),
        sink: channel.as_fd(),
        readable: &mut true,
        writable: &mut true,
        budget: &mut usize::MAX.clone(),
        carried,
        buffers,
    };
    outward.turn(&mut flow).unwrap()
}

fn read_to_end(mut socket: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    socket.read_to_end(&mut read).unwrap();
    read
}
