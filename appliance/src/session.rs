//! One session, from the grant until its application stands.
//!
//! `look the application up -> check the address -> dial it`. Then the session takes a warm channel and is
//! the data plane's. The user's connection is told that it stands only once the application's does, so a
//! refusal reaches the user as what it is.

mod target;

use std::net::{IpAddr, TcpStream};

use connector_proto::address::{self, Surroundings};
use connector_proto::message::SessionRefusal;
use connector_proto::time::Instant;

pub use target::{SessionId, Target};

use crate::dial::{self, Dial};
use crate::interest::Watch;
use crate::lookup::{self, Lookup, LookupError};

/// What a session needs to know of the machine and the edge when it starts.
#[derive(Clone, Debug)]
pub struct Context {
    /// DNS servers.
    pub resolvers: Vec<IpAddr>,
    /// The machine's own addresses.
    pub own: Vec<IpAddr>,
    /// Its gateways.
    pub gateways: Vec<IpAddr>,
    /// Every address of the edge and of the proxy that is known: no application is at one of them.
    pub edges: Vec<IpAddr>,
}

/// A session whose application is looked for.
#[derive(Debug)]
pub struct Session {
    target: Target,
    state: State,
}

#[derive(Debug)]
enum State {
    LookingUp(Lookup, Context),
    DiallingApplication(Dial),
}

/// Where a session stands after a turn.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    Open(Session),
    /// Its application stands.
    Connected {
        /// Which session.
        target: Target,
        /// The connection, non-blocking, in which nothing was said yet.
        application: TcpStream,
    },
    /// It does not come about: tell the edge.
    Refused {
        /// Which session.
        target: Target,
        /// Why.
        reason: SessionRefusal,
        /// In words.
        detail: String,
    },
}

/// What a turn of a state came to.
enum Next {
    State(State),
    Connected(TcpStream),
    Refused(SessionRefusal, String),
}

impl Session {
    /// Starts a session that a grant allows.
    #[must_use]
    pub fn start(now: Instant, target: Target, context: Context) -> Step {
        let found = lookup::start(now, &target.host, &context.resolvers, &[]);
        let next = go_on_with_lookup(now, &target, context, found);
        Self::after(target, next)
    }

    /// Goes on as far as it can without waiting.
    #[must_use]
    pub fn turn(self, now: Instant) -> Step {
        let Self { target, state } = self;
        let next = match state {
            State::LookingUp(lookup, context) => {
                go_on_with_lookup(now, &target, context, lookup.turn(now))
            }
            State::DiallingApplication(dial) => go_on_with_dial(dial.turn(now)),
        };
        Self::after(target, next)
    }

    fn after(target: Target, next: Next) -> Step {
        match next {
            Next::State(state) => Step::Open(Self { target, state }),
            Next::Connected(application) => Step::Connected {
                target,
                application,
            },
            Next::Refused(reason, detail) => Step::Refused {
                target,
                reason,
                detail,
            },
        }
    }

    /// Adds what it waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        let deadline = match &self.state {
            State::LookingUp(lookup, _) => {
                lookup.watch(watch);
                lookup.deadline()
            }
            State::DiallingApplication(dial) => {
                dial.watch(watch);
                dial.deadline()
            }
        };
        watch.until(Some(deadline));
    }
}

fn go_on_with_lookup(now: Instant, target: &Target, context: Context, step: lookup::Step) -> Next {
    match step {
        lookup::Step::Pending(lookup) => Next::State(State::LookingUp(lookup, context)),
        lookup::Step::Found(addresses) => dial_application(now, target, &context, &addresses),
        lookup::Step::Failed(error) => lookup_refusal(target, &error),
    }
}

/// Dials those of the addresses that may be dialled; the checked address is the dialled one.
fn dial_application(
    now: Instant,
    target: &Target,
    context: &Context,
    addresses: &[IpAddr],
) -> Next {
    let surroundings = Surroundings {
        own: &context.own,
        gateways: &context.gateways,
        edges: &context.edges,
    };
    let mut allowed = Vec::new();
    let mut denied = None;
    for address in addresses {
        match address::check(*address, &surroundings) {
            Ok(()) => allowed.push(*address),
            Err(why) => denied = Some((*address, why)),
        }
    }
    if let (true, Some((address, why))) = (allowed.is_empty(), denied) {
        let detail = format!(
            "{} is {address}, which is never dialled: {why}",
            target.host
        );
        return Next::Refused(SessionRefusal::AddressDenied, detail);
    }
    go_on_with_dial(dial::start(now, &allowed, target.port))
}

fn go_on_with_dial(step: dial::Step) -> Next {
    match step {
        dial::Step::Pending(dial) => Next::State(State::DiallingApplication(dial)),
        dial::Step::Connected(application, _) => Next::Connected(application),
        dial::Step::Failed(error) => dial_refusal(&error),
    }
}

fn lookup_refusal(target: &Target, error: &LookupError) -> Next {
    let detail = format!("{}: {error}", target.host);
    Next::Refused(SessionRefusal::NameNotFound, detail)
}

fn dial_refusal(error: &dial::DialError) -> Next {
    let reason = if error.errno == rustix::io::Errno::CONNREFUSED {
        SessionRefusal::ConnectionRefused
    } else if error.is_out_of_descriptors() {
        SessionRefusal::TooManySessions
    } else {
        SessionRefusal::Unreachable
    };
    Next::Refused(reason, error.to_string())
}
