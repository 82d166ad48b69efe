//! Wrong clocks, jumping clocks, and clocks that somebody would like to be wrong.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use qemu::machine::Rtc;
use tests::appliance::{Appliance, BootOptions};
use tests::lab::Lab;
use tests::network::TimeServer;
use tests::network::address::TIME_SERVER;
use tests::network::datagram::Datagram;
use tests::pcap::{Direction, Frame};
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, PAGE, STEP_MAX, Scene, expect};
use tests::skip;

/// How much later a machine may connect for its wrong clock, in seconds.
const LATER_MAX_S: f64 = 5.0;
/// How soon after a jump the clock has been checked again.
const RESYNC_MAX: Duration = Duration::from_secs(60);
/// How far a clock may be from the right time.
const WRONG_MAX_S: i64 = 60;
const YEAR_S: i64 = 365 * 86_400;

#[test]
fn with_its_battery_clock_in_1970_2000_next_year_2038_or_2106_a_machine_connects_at_most_5_s_later()
{
    let mut scene = scene!("rtc");
    let appliance = scene.boot_and_enrol();
    assert!(expect(appliance.power_off()).success());
    let (usual, _) = connected_at(&scene, Rtc::Utc);
    let next_year = date(now_s() + YEAR_S);
    for time in [
        "1970-01-01",
        "2000-01-01",
        &next_year,
        "2038-01-20",
        "2106-02-08",
    ] {
        let (stamp, moved_s) = connected_at(&scene, Rtc::At(format!("{time}T00:00:00")));
        // A clock in the past is raised to the floor before anybody is asked. So is that of 2106: the
        // machine's battery clock has two digits, which Linux takes for 2006.
        let is_ahead = [next_year.as_str(), "2038-01-20"].contains(&time);
        assert_eq!(
            moved_s < -300.0 * 86_400.0,
            is_ahead,
            "{time}: moved {moved_s} s"
        );
        eprintln!("{time}: connected at {stamp:.2} s, and with the right time at {usual:.2} s");
        assert!(
            stamp <= usual + LATER_MAX_S,
            "{time}: {stamp} s, usually {usual} s"
        );
    }
}

/// When a machine with this clock is connected, in seconds since its kernel started, and by how many
/// seconds its clock was moved.
fn connected_at(scene: &Scene, rtc: Rtc) -> (f64, f64) {
    let options = BootOptions {
        rtc,
        ..BootOptions::default()
    };
    let appliance = expect(scene.lab.boot(&options));
    expect(appliance.wait_for(CONNECTED, BOOT_MAX));
    let text = appliance.console().text();
    let set = text.split_once("Clock set by");
    let moved_s = set.and_then(|(_, rest)| {
        rest.split_once("moved")?
            .1
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    match (appliance.stamp_of(CONNECTED), moved_s) {
        (Some(stamp), Some(moved_s)) => (stamp, moved_s),
        _ => panic!("no stamp, or no sentence about the clock: {text}"),
    }
}

#[test]
fn a_clock_that_is_moved_by_a_year_either_way_drops_no_session_and_is_right_again_within_60_s() {
    let mut scene = scene!("jumps");
    let appliance = enrolled_with_agent(&mut scene);
    let mut session = scene.open_session();
    expect(session.exchange(b"before"));
    for jump_s in [YEAR_S, -YEAR_S] {
        let frames_before = scene.lab.network().capture().count();
        let jumped = Instant::now();
        expect(appliance.ask_agent(&format!("clock {jump_s}")));
        expect(appliance.wait_for("Clock put back:", RESYNC_MAX));
        let left = RESYNC_MAX.saturating_sub(jumped.elapsed());
        let capture = scene.lab.network().capture();
        assert!(
            capture.wait_for_after(frames_before, left, is_time_answer),
            "no NTP server was asked within 60 s of the jump"
        );
        assert_clock_is_right(&appliance);
        expect(session.exchange(b"after"));
        assert_eq!(scene.fetch(PAGE).status, 200);
    }
    let text = appliance.console().text();
    assert!(!text.contains("Disconnected from"), "{text}");
}

#[test]
fn an_old_certificate_of_the_edge_with_ntp_of_that_time_is_refused_by_the_floor() {
    if let Some(reason) = Lab::missing_for_vm() {
        skip!(reason);
    }
    let mut lab = expect(Lab::new("replay"));
    let old = {
        let edge = expect(lab.start_edge_with_clock("2025-01-01 00:00:00"));
        let old = expect(edge.certificate());
        expect(edge.restart());
        old
    };
    let mut scene = expect(Scene::in_lab(lab));
    let appliance = scene.boot_and_enrol_with(&with_agent(Rtc::Utc));
    assert!(expect(appliance.power_off()).success());

    // Who has the old certificate's key also has the network.
    scene.edge().kill();
    expect(scene.edge().replay_certificate(&old));
    expect(scene.edge().restart_with_clock("2025-01-05 00:00:00"));
    let then_s = 1_736_035_200;
    let lie_ms = (then_s - now_s()) * 1000;
    let network = scene.lab.network();
    network.set_time_server(TIME_SERVER, TimeServer::lying_by_ms(lie_ms));
    let booted_s = now_s();
    let again = expect(
        scene
            .lab
            .boot(&with_agent(Rtc::At("2025-01-05T00:00:00".to_owned()))),
    );
    expect(again.wait_for(
        &format!("NTP server {TIME_SERVER} claims a time before"),
        BOOT_MAX,
    ));
    expect(again.wait_for("claims a time before", STEP_MAX));
    let text = again.console().text();
    assert!(
        text.contains("Service edge edge.outgate.example claims a time before"),
        "{text}"
    );
    assert!(!text.contains(CONNECTED), "{text}");
    // The last time that the edge told is at most the time of the enrolment, less a margin.
    let clock_s = expect(again.clock_s());
    assert!(clock_s > booted_s - 3600, "the clock says {clock_s}");

    // The truth is enough to go on.
    let network = scene.lab.network();
    network.set_time_server(TIME_SERVER, TimeServer::HONEST);
    expect(scene.edge().restart());
    expect(again.wait_for(CONNECTED, STEP_MAX * 2));
}

fn enrolled_with_agent(scene: &mut Scene) -> Appliance {
    let appliance = scene.boot_and_enrol_with(&with_agent(Rtc::Utc));
    expect(appliance.wait_for("Memory:", STEP_MAX));
    appliance
}

fn with_agent(rtc: Rtc) -> BootOptions {
    BootOptions {
        rtc,
        agent: true,
        ..BootOptions::default()
    }
}

fn assert_clock_is_right(appliance: &Appliance) {
    let wrong_s = expect(appliance.clock_s()) - now_s();
    assert!(
        wrong_s.abs() < WRONG_MAX_S,
        "the clock is wrong by {wrong_s} s"
    );
}

fn is_time_answer(frame: &Frame) -> bool {
    let datagram = Datagram::parse(&frame.bytes);
    frame.direction == Direction::ToGuest
        && datagram.is_some_and(|datagram| datagram.from.port() == 123)
}

fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The day, `YYYY-MM-DD`, of a time since 1970.
fn date(seconds: i64) -> String {
    let mut days = seconds / 86_400;
    let mut year = 1970;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |year| if is_leap(year) { 366 } else { 365 };
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        if is_leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}
