//! Many sessions: all at once, and for a while.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::echo;
use crate::ground::on_own_ground;
use crate::pattern::Pattern;
use crate::process::{connections_to_the_edge, descriptors, memory};
use crate::site::{Answer, Door, Site, Terms};
use crate::until;

/// Bytes that each session says and hears.
const WORDS: usize = 200;
/// Longer than it takes until everybody was served, on a slow machine too.
const CROWD_MAX: Duration = Duration::from_secs(100);
/// Memory that a connector may keep after a crowd for each session it carried at once, beside what it had
/// before. What a session took while it was opened goes back to the allocator, and not all of it to the kernel.
const KEPT_MAX: u64 = 4 << 10;

#[test]
fn of_ten_thousand_sessions_at_once_those_over_the_limit_are_told_the_number_and_served_when_there_is_room()
 {
    on_own_ground(ten_thousand);
}

#[test]
fn nine_thousand_idle_sessions_all_answer_and_take_no_more_memory_the_longer_they_last() {
    on_own_ground(nine_thousand);
}

/// A user, and what is said to the application.
struct User {
    number: u64,
    stream: TcpStream,
}

impl User {
    fn say(&mut self) -> io::Result<()> {
        self.stream.write_all(Pattern::new(self.number).next(WORDS))
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut pattern = Pattern::new(self.number);
        // Fewer than said, where the pattern begins again.
        let mut heard = vec![0; pattern.clone().next(WORDS).len()];
        self.stream.read_exact(&mut heard)?;
        pattern.check(&heard)
    }
}

/// What came of knocking.
#[derive(Default)]
struct Outcome {
    inside: Vec<User>,
    /// Each with what it was told; nothing by an edge that has no descriptor left to speak by.
    refused: Vec<(u64, String)>,
}

/// Has all of these knock before the first one is answered. Nobody waits longer than [`crate::site::PATIENCE`].
fn knock(door: &Door, numbers: &[u64]) -> Outcome {
    let mut outcome = Outcome::default();
    let knocked: Vec<_> = numbers
        .iter()
        .map(|number| (*number, door.knock()))
        .collect();
    for (number, stream) in knocked {
        let answered = stream.and_then(|mut stream| Ok((Door::answer(&mut stream)?, stream)));
        match answered {
            Ok((Answer::Open, stream)) => outcome.inside.push(User { number, stream }),
            Ok((Answer::Refused(said), _)) => outcome.refused.push((number, said)),
            Err(error) => {
                let is_hanging = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                );
                assert!(!is_hanging, "user {number} hangs");
                outcome.refused.push((number, String::new()));
            }
        }
    }
    outcome
}

/// Each of them says something of its own before the first one hears it back.
fn all_are_right(users: &mut [User]) {
    for user in users.iter_mut() {
        user.say().unwrap();
    }
    for user in users {
        user.hear()
            .unwrap_or_else(|error| panic!("user {}: {error}", user.number));
    }
}

/// Descriptors of connector and edge beside their channels.
fn used(site: &Site) -> [usize; 2] {
    let channels = connections_to_the_edge();
    [site.connector.pid(), site.edge_pid()].map(|pid| descriptors(pid).saturating_sub(channels))
}

/// A site that has had a session.
fn start(terms: Terms) -> Site {
    echo::start();
    let site = Site::start(terms);
    site.wait_for_a_session();
    site.connector.wait_for(|status| status.sessions == 0);
    site
}

/// Waits until nothing is left of sessions.
fn settle(site: &Site, before: [usize; 2]) {
    site.connector.wait_for(|status| status.sessions == 0);
    until("the descriptors back where they were", || {
        let now = used(site);
        now[0] <= before[0] && now[1] <= before[1]
    });
}

fn ten_thousand() {
    let descriptors = 16_000;
    let terms = Terms {
        descriptors,
        ..Terms::default()
    };
    // Two for each session, and 1,024 that are kept for all else.
    let capacity = (descriptors - 1_024) / 2;
    let site = start(terms);
    let (before, memory_before) = (used(&site), memory(site.connector.pid()));
    crowd(&site, capacity);
    settle(&site, before);
    let first = memory(site.connector.pid());
    crowd(&site, capacity);
    settle(&site, before);
    let second = memory(site.connector.pid());
    eprintln!(
        "memory {} KiB, after a crowd {}, after another {}",
        memory_before >> 10,
        first >> 10,
        second >> 10
    );
    assert!(
        first < memory_before + KEPT_MAX * capacity,
        "{first} bytes, {memory_before} before"
    );
    // The allocator does not find the same places in the same order.
    assert!(
        second <= first + first / 4,
        "{second} bytes after the second crowd, {first} after the first"
    );
}

/// Ten thousand users come at once, to a connector that carries `capacity` sessions.
fn crowd(site: &Site, capacity: u64) {
    let (door, began) = (site.door(), Instant::now());
    let numbers: Vec<u64> = (1..=10_000).collect();
    let mut outcome = knock(&door, &numbers);
    let told = format!("carries {capacity} sessions, which is its limit");
    let (number, other): (Vec<_>, Vec<_>) = outcome
        .refused
        .iter()
        .partition(|(_, said)| said.contains(&told));
    eprintln!(
        "{:?}: {} inside, {} told the number, {} others",
        began.elapsed(),
        outcome.inside.len(),
        number.len(),
        other.len()
    );
    for (_, said) in &other {
        // An edge that carries as many as its own descriptors allow closes without a word.
        assert!(said.is_empty(), "{said}");
    }
    assert_eq!(outcome.inside.len() as u64, capacity);
    assert!(!number.is_empty());
    all_are_right(&mut outcome.inside);
    drop(outcome.inside);
    let mut waiting: Vec<u64> = outcome.refused.iter().map(|(number, _)| *number).collect();
    while !waiting.is_empty() {
        assert!(
            began.elapsed() < CROWD_MAX,
            "{} are not served",
            waiting.len()
        );
        let mut outcome = knock(&door, &waiting);
        all_are_right(&mut outcome.inside);
        waiting = outcome.refused.iter().map(|(number, _)| *number).collect();
    }
    eprintln!("{:?}: all were served", began.elapsed());
}

fn nine_thousand() {
    const SESSIONS: u64 = 9_000;
    let site = start(Terms::default());
    let pid = site.connector.pid();
    let (before, memory_before) = (used(&site), memory(pid));
    let door = site.door();
    let mut users = Vec::new();
    let numbers: Vec<u64> = (1..=SESSIONS).collect();
    for some in numbers.chunks(250) {
        let outcome = knock(&door, some);
        assert!(outcome.refused.is_empty(), "{:?}", outcome.refused[0]);
        users.extend(outcome.inside);
    }
    all_are_right(&mut users);
    site.connector
        .wait_for(|status| u64::from(status.sessions) == SESSIONS);
    let opened = memory(pid);
    let each = opened.saturating_sub(memory_before) / SESSIONS;
    eprintln!("{each} bytes a session");
    assert!(each <= EACH_MAX, "{each} bytes of memory a session");
    thread::sleep(LEFT_ALONE);
    let later = memory(pid);
    assert!(
        later <= opened + opened / 20,
        "{later} bytes, {opened} before"
    );
    all_are_right(&mut users);
    drop(users);
    settle(&site, before);
}

/// Memory of the connector's own that a session may take which moves nothing.
const EACH_MAX: u64 = 1_536;
/// How long sessions are left alone.
const LEFT_ALONE: Duration = Duration::from_secs(5);
