//! Warm channels that die while they wait for a session.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::echo;
use crate::ground::on_own_ground;
use crate::pattern::Pattern;
use crate::process::processor_time;
use crate::relay::{Harm, Relay, Which};
use crate::site::{Answer, Door, Site, Terms};
use crate::until;

/// Users who come at the moment in which the channels die.
const USERS: u64 = 20;
/// Nobody waits longer for an answer: the edge gives a connector 15 s.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// More dials than that for each user, or for each channel that died, are a storm.
const DIALS_EACH: usize = 4;

#[test]
fn warm_channels_that_die_while_they_wait_keep_no_user_waiting_and_are_dialled_again_without_a_storm()
 {
    on_own_ground(die);
}

fn die() {
    echo::start();
    let relay = Relay::start();
    let terms = Terms {
        is_relayed: true,
        ..Terms::default()
    };
    let site = Site::start(terms);
    site.wait_for_a_session();
    for harm in [
        Harm::Finish,
        Harm::Reset,
        Harm::Alert,
        Harm::Garble,
        Harm::Deafen,
    ] {
        // The control channel, and one for a session at least.
        until("warm channels", || relay.count() > 1);
        let (dialled, used) = (relay.dialled(), processor_time(site.connector.pid()));
        let harmed = relay.harm(Which::Data, harm);
        let began = Instant::now();
        let served = rush(&site.door());
        let waited = began.elapsed();
        assert!(waited < ANSWER_MAX, "{harm:?}: {waited:?}");
        // A channel that is deaf looks alive to everybody: who gets one is refused, and the others are not.
        let least = if harm == Harm::Deafen {
            USERS.saturating_sub(harmed as u64)
        } else {
            USERS
        };
        assert!(served >= least, "{harm:?}: {served} of {USERS} were served");
        site.wait_for_a_session();
        let dialled = relay.dialled() - dialled;
        let used = processor_time(site.connector.pid()) - used;
        eprintln!(
            "{harm:?}: {harmed} died, {served} served in {waited:?}, {dialled} dials, {used:?} of a processor"
        );
        let dials_max = DIALS_EACH * (usize::try_from(USERS).unwrap() + harmed);
        assert!(dialled <= dials_max, "{harm:?}: {dialled} dials");
        assert!(
            used < began.elapsed() / 2 + BUSY,
            "{harm:?}: {used:?} of a processor"
        );
    }
}

/// Processor time for so many handshakes, in a build that is not optimised.
const BUSY: Duration = Duration::from_secs(1);

/// Users all at once; how many had their bytes back. The others were refused, and nobody was cut off.
fn rush(door: &Door) -> u64 {
    let users: Vec<_> = (1..=USERS).map(|_| door.knock().unwrap()).collect();
    let mut served = 0;
    for (number, mut user) in (1..).zip(users) {
        match Door::answer(&mut user).unwrap() {
            Answer::Open => {}
            Answer::Refused(said) => {
                eprintln!("{}", said.lines().last().unwrap_or_default());
                continue;
            }
        }
        user.write_all(Pattern::new(number).next(100)).unwrap();
        let mut heard = [0; 100];
        user.read_exact(&mut heard).unwrap();
        Pattern::new(number).check(&heard).unwrap();
        served += 1;
    }
    served
}
