//! Records that are no data, and what is no record.

use std::io::{ErrorKind, Read as _, Write as _};
use std::thread;

use splice_core::channel::ALERT_REFUSED;
use splice_core::engine::Broken;
use splice_core::record::Content;

use super::line::{read_exactly, read_to_end, write_and_end};
use super::peer::{Peer, kernel_side};
use super::{assert_same, bytes};

/// How a session ends by what its peer does. Its sockets are reset then, and the peer may learn it so.
fn breaks_by(act: impl FnOnce(&mut Peer) + Send) -> String {
    let (side, application, mut peer) = kernel_side();
    let side = side.spawn();
    let broken = thread::scope(|scope| {
        scope.spawn(|| {
            peer.send_data(&bytes(40_000));
            act(&mut peer);
        });
        side.join().unwrap().broken()
    });
    drop(application);
    format!("{broken:?}")
}

/// Alerts end a session by their description.
pub fn alerts() {
    assert_eq!(breaks_by(|peer| peer.alert(80)), "Alert(80)");
    assert_eq!(breaks_by(|peer| peer.alert(ALERT_REFUSED)), "Refused");
    let of_three = |peer: &mut Peer| peer.send(Content::Alert, &[1, 0, 0]);
    assert!(breaks_by(of_three).starts_with("BadRecord"));
}

/// A kernel that cannot change keys says so, rather than that a record was forged; and what came under the
/// keys that it has, it delivers.
pub fn key_update() {
    let (side, application, mut peer) = kernel_side();
    let side = side.spawn();
    peer.send_data(&bytes(40_000));
    peer.update_keys();
    peer.send_data(&bytes(1000));
    let broken = side.join().unwrap().broken();
    assert!(matches!(broken, Broken::CannotRekey), "{broken:?}");
    assert_same(&read_exactly(&application, 40_000), &bytes(40_000));
    let after = (&application).read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(after, Err(ErrorKind::ConnectionReset));
}

/// Keys that the kernel does not take change nothing: every byte goes on under those that it has.
pub fn second_keys() {
    let (mut side, application, mut peer) = kernel_side();
    assert!(!side.offer_next_keys(), "this kernel changes keys");
    let side = side.spawn();
    peer.send_data(&bytes(40_000));
    assert_same(&read_exactly(&application, 40_000), &bytes(40_000));
    write_and_end(&application, &bytes(300_000));
    let (data, alert, _) = peer.receive_all();
    assert_same(&data, &bytes(300_000));
    assert_eq!(alert, 0);
    peer.alert(0);
    assert!(read_to_end(&application).is_empty());
    assert_eq!(side.join().unwrap().in_order(), (300_000, 40_000));
}

/// What was changed on the way, and what is no record of TLS 1.3.
pub fn bad_records() {
    let forged = breaks_by(|peer| {
        let mut record = peer.record(Content::Data, &bytes(1000));
        record[500] ^= 1;
        peer.socket.write_all(&record).unwrap();
    });
    assert!(forged.contains("forged"), "{forged}");
    let skipped = breaks_by(|peer| {
        drop(peer.record(Content::Data, &bytes(1000)));
        peer.send_data(&bytes(1000));
    });
    assert!(skipped.contains("forged"), "{skipped}");
    let foreign = breaks_by(|peer| peer.socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap());
    assert!(foreign.starts_with("BadRecord"), "{foreign}");
    let long = breaks_by(|peer| peer.socket.write_all(&[23, 3, 3, 0xff, 0xff, 0]).unwrap());
    assert!(long.starts_with("BadRecord"), "{long}");
    let strange = breaks_by(|peer| peer.send(Content::Handshake, &[1, 0, 0, 0]));
    assert!(strange.starts_with("BadRecord"), "{strange}");
}

/// Records that carry nothing, without end.
pub fn floods() {
    let flood = |content, bytes: &'static [u8]| {
        breaks_by(move |peer| {
            // Until the session is over.
            loop {
                let record = peer.record(content, bytes);
                if peer.socket.write_all(&record).is_err() {
                    break;
                }
            }
        })
    };
    assert_eq!(flood(Content::Data, b""), "Flood");
    assert_eq!(flood(Content::Handshake, &[4, 0, 0, 1, 0]), "Flood");
    assert_eq!(flood(Content::Alert, &[1, 90]), "Flood");
}
