//! Where users come in: an HTTP proxy that asks for a name and a password.
//!
//! `CONNECT host:port` opens a session of raw bytes. A request in absolute form
//! (`GET http://host/..`, RFC 9112 section 3.2.2) is passed on as one request.

mod head;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::grant::{self, Grant, Protocol};
use connector_proto::limits::GRANT_LIFE;
use connector_proto::message::SessionRefusal;
use connector_proto::time::UnixSeconds;
use log::{error, info};
use splice_core::channel::Channel;
use splice_core::session::reset_on_close;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::acceptor::accept_failed;
use crate::broker::{Expected, NoTunnel, Outcome, Slot, Tunnel};
use crate::config::{HEAD_MAX, HEAD_TIME_MAX, SESSION_OPEN_MAX, WRITE_MAX};
use crate::relay::{Upload, carry};
use crate::server::{Alive, Shared, stopped};
use crate::store::applications::{Denied, Target};
use crate::store::audit::Entry;
use crate::text::{hex, printable};
use crate::{Error, clock, descriptors};
use head::{Form, Request};
use response::{Refusal, Status};

/// Accepts users until `stop` says otherwise.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    alive: Alive,
) {
    let places = Arc::new(Semaphore::new(descriptors::users_max()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((user, peer)) => {
                // A user too many is not accepted but closed: the message would cost a place, too.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    continue;
                };
                let (shared, alive) = (Arc::clone(&shared), alive.clone());
                tokio::spawn(async move {
                    serve(&shared, user, peer).await;
                    drop((place, alive));
                });
            }
            Err(error) => accept_failed("users", &error).await,
        }
    }
}

/// Serves one user's connection: one request, one session.
async fn serve(shared: &Arc<Shared>, mut user: TcpStream, peer: SocketAddr) {
    let asked = async {
        let (request, rest) = read_head(&mut user).await?;
        let name = authenticate(shared, &request).await?;
        let targets = authorise(shared, &name, &request, peer).await?;
        let session = open(shared, &name, &targets).await?;
        Ok((request.form, rest, session))
    };
    // In a box, which goes when a session is there: most of a session's life needs none of it.
    let asked = Box::pin(asked).await;
    match asked {
        Ok((form, rest, session)) => go_on(shared, user, form, rest, session).await,
        Err(refusal) => {
            info!("{peer}: {refusal}");
            Box::pin(response::send(user, &refusal)).await;
        }
    }
}

/// A session that is attached.
struct Session {
    id: [u8; 16],
    user: String,
    target: Target,
    tunnel: Arc<Tunnel>,
    slot: Slot,
    channel: Channel,
}

/// Bytes of a head that are read at once: most are shorter.
const HEAD_PART: usize = 2048;

/// The request, and what came with it but is not of its head.
async fn read_head(user: &mut TcpStream) -> Result<(Request, Vec<u8>), Refusal> {
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            bytes.reserve(HEAD_PART);
            let len = user.read_buf(&mut bytes).await.unwrap_or(0);
            if len == 0 {
                return Err(Refusal::bad_request(
                    "the connection ended inside the request",
                ));
            }
            if let Some((request, head_len)) = head::parse(&bytes)? {
                return Ok((request, bytes.split_off(head_len)));
            }
            if bytes.len() >= HEAD_MAX {
                let detail = format!("the request's head is longer than {HEAD_MAX} bytes");
                return Err(Refusal::new(Status::HeadTooLarge, detail));
            }
        }
    };
    timeout(HEAD_TIME_MAX, reading).await.unwrap_or_else(|_| {
        let detail = format!(
            "the request did not come within {} s",
            HEAD_TIME_MAX.as_secs()
        );
        Err(Refusal::new(Status::Timeout, detail))
    })
}

async fn authenticate(shared: &Arc<Shared>, request: &Request) -> Result<String, Refusal> {
    let wanted = |why: &str| {
        let detail = format!(
            "{why}; give a user's name and password, with curl: --proxy-user NAME:PASSWORD"
        );
        Refusal::new(Status::CredentialsWanted, detail)
    };
    let Some((name, password)) = request.credentials() else {
        return Err(wanted("this proxy needs credentials"));
    };
    match shared.passwords.is_right(&name, password).await {
        Ok(true) => Ok(name),
        Ok(false) => Err(wanted("the name or the password is wrong")),
        Err(error) => Err(store_failed(&error)),
    }
}

async fn authorise(
    shared: &Arc<Shared>,
    user: &str,
    request: &Request,
    peer: SocketAddr,
) -> Result<Vec<Target>, Refusal> {
    let (host, port) = (&request.host, request.port);
    let decided = shared.store.authorise(user, host, port);
    let decided = decided.map_err(|error| store_failed(&error))?;
    if let Err(denied) = decided {
        let entry = Entry::new("session_denied")
            .with("user", user)
            .with("host", host.as_str())
            .with("port", port)
            .with("address", peer.to_string())
            .with("reason", denied_name(denied));
        note(shared, entry)
            .await
            .map_err(|error| store_failed(&error))?;
    }
    let target = format!("{}:{port}", printable(&request.host));
    match decided {
        Ok(targets) => Ok(targets),
        Err(Denied::NoApplication) => {
            let detail = format!(
                "{target} is no application of this edge; `edge app list` shows those there are"
            );
            Err(Refusal::new(Status::Forbidden, detail))
        }
        Err(Denied::NotForUser) => {
            let detail = format!("{user} may not reach {target}");
            Err(Refusal::new(Status::Forbidden, detail))
        }
    }
}

const fn denied_name(denied: Denied) -> &'static str {
    match denied {
        Denied::NoApplication => "no_application",
        Denied::NotForUser => "not_for_user",
    }
}

/// Picks a connector, writes the decision down, offers the session and awaits its data channel.
async fn open(shared: &Arc<Shared>, user: &str, targets: &[Target]) -> Result<Session, Refusal> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| Refusal::new(Status::Unavailable, error.to_string()))?;
    let groups: Vec<i64> = targets.iter().map(|target| target.group_id).collect();
    let placed = shared.broker.place_of(&groups, id).await;
    let (number, expected) = placed.map_err(|reason| no_tunnel(targets, &reason))?;
    let Some(target) = targets.get(number).cloned() else {
        return Err(no_tunnel(targets, &NoTunnel::Absent));
    };
    let tunnel = Arc::clone(&expected.tunnel);
    let entry = session_entry("session_granted", &id, user, &target, &tunnel);
    let noted = note(shared, entry);
    // Meanwhile. It goes nowhere before the decision is on the disk.
    let grant = sign_grant(shared, &target, &tunnel, id);
    noted.await.map_err(|error| store_failed(&error))?;
    let offered = match grant {
        Ok(grant) => offer(&target, expected, grant).await,
        Err(failed) => Err(failed),
    };
    let failed = match offered {
        Ok((slot, channel)) => {
            return Ok(Session {
                id,
                user: user.to_owned(),
                target,
                tunnel,
                slot,
                channel: *channel,
            });
        }
        Err(failed) => failed,
    };
    let entry = session_entry("session_refused", &id, user, &target, &tunnel);
    // Nothing was granted that is not written down, so a store that fails here harms nobody.
    let _ = note(shared, entry.with("reason", failed.detail())).await;
    Err(failed)
}

/// Offers the session to the connector and awaits its data channel.
async fn offer(
    target: &Target,
    expected: Expected,
    grant: Vec<u8>,
) -> Result<(Slot, Box<Channel>), Refusal> {
    let Expected {
        tunnel,
        slot,
        outcome,
    } = expected;
    let connector = &tunnel.identity.name;
    let lost = || {
        let detail = format!("connector {connector} went away; try again");
        Refusal::new(Status::BadGateway, detail)
    };
    let late = |_| {
        let seconds = SESSION_OPEN_MAX.as_secs();
        let detail = format!("connector {connector} did not answer within {seconds} s");
        Refusal::new(Status::GatewayTimeout, detail)
    };
    let deadline = Instant::now() + SESSION_OPEN_MAX;
    // Many who come at once wait for each other here, and none is refused for it.
    let room = timeout_at(deadline, tunnel.room()).await.map_err(late)?;
    let room = room.ok_or_else(lost)?;
    room.send(grant);
    match timeout_at(deadline, outcome).await.map_err(late)? {
        Ok(Outcome::Attached(channel)) => Ok((slot, channel)),
        Ok(Outcome::Refused { reason, detail }) => Err(refused(connector, target, reason, &detail)),
        Ok(Outcome::Lost) | Err(_) => Err(lost()),
    }
}

fn no_tunnel(targets: &[Target], reason: &NoTunnel) -> Refusal {
    let group = targets.first().map_or("", |target| &target.group);
    let detail = match reason {
        NoTunnel::Absent => {
            format!("no connector of group {group} is connected; see `edge connector list`")
        }
        NoTunnel::Full { .. } => format!("{reason}; add a connector to group {group}"),
    };
    Refusal::new(Status::Unavailable, detail)
}

fn sign_grant(
    shared: &Shared,
    target: &Target,
    tunnel: &Tunnel,
    session: [u8; 16],
) -> Result<Vec<u8>, Refusal> {
    let not_after = UnixSeconds(clock::unix_now().0 + GRANT_LIFE.as_secs());
    let grant = Grant {
        connector_id: tunnel.identity.id,
        session,
        host: &target.host,
        port: target.port,
        protocol: Protocol::Tcp,
        not_after,
    };
    grant::sign(shared.authority.grant_key(), &grant)
        .map_err(|error| Refusal::new(Status::BadGateway, error.to_string()))
}

fn refused(connector: &str, target: &Target, reason: SessionRefusal, detail: &str) -> Refusal {
    let status = match reason {
        SessionRefusal::GrantInvalid
        | SessionRefusal::AddressDenied
        | SessionRefusal::NameNotFound
        | SessionRefusal::ConnectionRefused => Status::BadGateway,
        SessionRefusal::Unreachable => Status::GatewayTimeout,
        SessionRefusal::TooManySessions => Status::Unavailable,
    };
    let Target { host, port, .. } = target;
    let mut sentence = format!("connector {connector} cannot reach {host}:{port}: {reason}");
    if !detail.is_empty() {
        sentence = format!("{sentence} ({})", printable(detail));
    }
    Refusal::new(status, sentence)
}

/// Has the session carried to its end and writes down what it was.
async fn go_on(
    shared: &Arc<Shared>,
    mut user: TcpStream,
    form: Form,
    mut rest: Vec<u8>,
    session: Session,
) {
    let Session {
        id,
        user: name,
        target,
        tunnel,
        slot,
        channel,
    } = session;
    // What he hears from here on is the application's: if this process is killed it is cut, not ended.
    reset_on_close(&user);
    let (first, upload) = match form {
        Form::Connect => {
            let greeting = b"HTTP/1.1 200 Connected\r\n\r\n";
            match timeout(WRITE_MAX, user.write_all(greeting)).await {
                Ok(Ok(())) => (rest, Upload::All),
                // The relay notices that the user is gone and writes the session's end down.
                Ok(Err(_)) | Err(_) => (rest, Upload::Body(0)),
            }
        }
        Form::Forward { head, body_len } => {
            rest.truncate(usize::try_from(body_len).unwrap_or(usize::MAX));
            let left = body_len - rest.len() as u64;
            ([head.as_slice(), &rest].concat(), Upload::Body(left))
        }
    };
    let carried = carry(&shared.plane, user, channel, first, upload, &slot);
    info!(
        "session {} of {name} to {} through {}",
        hex(&id),
        target.application,
        tunnel.identity.name
    );
    let end = match carried {
        Ok(carried) => carried.end().await,
        Err(end) => end,
    };
    drop(slot);
    info!(
        "session {} ended: {}, {} up, {} down",
        hex(&id),
        end.reason,
        end.up,
        end.down
    );
    let entry = session_entry("session_ended", &id, &name, &target, &tunnel)
        .with("bytes_up", end.up)
        .with("bytes_down", end.down)
        .with("reason", end.reason);
    let noted = shared.store.note_in_company(clock::unix_now(), entry);
    if let Err(error) = noted.await {
        error!(
            "the end of session {} is not in the audit log: {error}",
            hex(&id)
        );
    }
}

fn session_entry(
    event: &'static str,
    id: &[u8; 16],
    user: &str,
    target: &Target,
    tunnel: &Tunnel,
) -> Entry {
    Entry::new(event)
        .with("session", hex(id))
        .with("user", user)
        .with("application", target.application.as_str())
        .with("host", target.host.as_str())
        .with("port", target.port)
        .with("connector", hex(&tunnel.identity.id))
}

fn note(shared: &Shared, entry: Entry) -> impl Future<Output = Result<(), Error>> + use<> {
    shared.store.note(clock::unix_now(), entry)
}

/// What cannot be written down is not granted.
fn store_failed(error: &Error) -> Refusal {
    error!("cannot decide on a session: {error}");
    Refusal::new(
        Status::Unavailable,
        "the edge cannot decide now; try again later".into(),
    )
}
