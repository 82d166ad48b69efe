//! Sessions of which one half ended long ago.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use connector_proto::limits::WARM_MAX;
use connector_proto::local::EngineSetting;
use splice_core::plane;

use crate::{STEP_MAX, Site, echo, pattern};

/// Bytes of one piece of what is said in the half that goes on.
const PIECE: usize = 1_000;
/// Pieces.
const PIECES: usize = 20;

#[test]
fn a_half_goes_on_alone_for_longer_than_a_stall_may_last_and_ends_in_order() {
    let stall_max = Duration::from_secs(1);
    let plane = plane::Config {
        stall_max,
        ..plane::Config::default()
    };
    goes_on_alone(plane, 3 * stall_max);
}

#[test]
fn a_half_goes_on_alone_for_longer_than_every_time_out_there_is_and_ends_in_order() {
    if std::env::var_os("OUTGATE_LONG").is_none() {
        eprintln!("only with OUTGATE_LONG: minutes of waiting");
        return;
    }
    let plane = plane::Config::default();
    // The stall, keep-alives of TCP and of the control channel, and the life of a channel that is not in use.
    goes_on_alone(
        plane,
        plane.stall_max.max(WARM_MAX) + Duration::from_secs(10),
    );
}

/// In sessions of either engine whose one half ended at once, nothing is said for `silence`, and then for
/// as long a piece now and then.
fn goes_on_alone(plane: plane::Config, silence: Duration) {
    for_each_engine(|engine| {
        let Some(site) = Site::start(engine, plane, echo) else {
            return;
        };
        let (of_user, of_application) = (pair(&site, "first"), pair(&site, "second"));
        thread::scope(|scope| {
            let (user, application) = &of_user;
            scope.spawn(|| says_alone(user, application, silence));
            let (user, application) = &of_application;
            scope.spawn(|| says_alone(application, user, silence));
        });
        let status = site.machine.wait_for_status(|status| status.sessions == 0);
        let bytes = (PIECE * PIECES) as u64;
        assert_eq!((status.bytes_up, status.bytes_down), (bytes, bytes));
        site.machine.stop();
    });
}

fn for_each_engine(run: impl Fn(EngineSetting) + Sync) {
    thread::scope(|scope| {
        for engine in [EngineSetting::User, EngineSetting::Kernel] {
            let run = &run;
            scope.spawn(move || run(engine));
        }
    });
}

/// Both ends of a session, with an application of its own.
fn pair(site: &Site, name: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((site.target.ip(), 0)).unwrap();
    let target = listener.local_addr().unwrap();
    site.edge.add_application_called(name, target);
    let user = site.edge.ask(target).connect();
    let (application, _) = listener.accept().unwrap();
    (user, application)
}

/// `silent` ends its half, and hears to the end what `other` goes on to say.
fn says_alone(mut other: &TcpStream, mut silent: &TcpStream, silence: Duration) {
    for end in [other, silent] {
        end.set_read_timeout(Some(silence + STEP_MAX)).unwrap();
    }
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
    thread::sleep(silence);
    let mut heard = [0; PIECE];
    for number in 0..PIECES {
        let said = pattern(number, PIECE);
        other.write_all(&said).unwrap();
        silent.read_exact(&mut heard).unwrap();
        assert!(heard == *said, "piece {number} was changed on its way");
        thread::sleep(silence / u32::try_from(PIECES).unwrap());
    }
    other.shutdown(Shutdown::Write).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}
