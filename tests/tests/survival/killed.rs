//! Processes that are killed while they carry sessions: nobody takes a part for the whole.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use connector_proto::local::EngineSetting;

use crate::ground::{APPLICATION, on_own_ground};
use crate::site::{Door, PATIENCE, Site, Terms};

#[test]
fn a_killed_edge_or_connector_resets_what_it_carried_and_ends_nothing_as_if_it_were_whole() {
    on_own_ground(kill_both);
}

fn kill_both() {
    let ends = serve();
    let mut site = Site::start(Terms::default());
    site.wait_for_a_session();
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Ok(()));

    let user = begin(&site.door());
    site.edge.kill();
    assert_eq!(end(user), Err(ErrorKind::ConnectionReset), "the user");
    let told = ends.recv_timeout(PATIENCE).unwrap();
    assert_eq!(told, Err(ErrorKind::ConnectionReset), "the application");

    site.edge.restart().unwrap();
    site.wait_for_a_session();
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Ok(()));
    let user = begin(&site.door());
    site.connector.kill();
    let told = ends.recv_timeout(PATIENCE).unwrap();
    assert_eq!(told, Err(ErrorKind::ConnectionReset), "the application");
    assert_eq!(end(user), Err(ErrorKind::ConnectionReset), "the user");
    site.connector.start(EngineSetting::User);
    site.wait_for_a_session();
}

/// An application that says back what it hears, and tells how each session ends.
fn serve() -> Receiver<Result<(), ErrorKind>> {
    let listener = TcpListener::bind(APPLICATION).unwrap();
    let (tell, ends) = mpsc::channel();
    thread::spawn(move || {
        for session in listener.incoming() {
            let (mut session, tell) = (session.unwrap(), tell.clone());
            thread::spawn(move || {
                let mut bytes = [0; 64];
                let end = loop {
                    match session.read(&mut bytes) {
                        Ok(0) => break Ok(()),
                        Ok(len) => session.write_all(&bytes[..len]).unwrap(),
                        Err(error) => break Err(error.kind()),
                    }
                };
                // Only the story's end takes the receiver away.
                let _ = tell.send(end);
            });
        }
    });
    ends
}

/// A session that has carried something both ways and has not ended.
fn begin(door: &Door) -> TcpStream {
    let mut user = door.enter().unwrap();
    let mut heard = [0; 5];
    user.write_all(b"hello").unwrap();
    user.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    user
}

/// How it ends for the user.
fn end(mut user: TcpStream) -> Result<(), ErrorKind> {
    let rest = user.read(&mut [0; 1]).map_err(|error| error.kind())?;
    assert_eq!(rest, 0, "nothing more was said");
    Ok(())
}
