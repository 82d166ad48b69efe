//! A machine that no NTP server answers gets the time from its service edge.

use qemu::machine::Rtc;
use tests::appliance::BootOptions;
use tests::network::address::{APPLICATION, TIME_SERVER};
use tests::network::dhcp::LeaseTerms;
use tests::scene;
use tests::scene::{BOOT_MAX, CONNECTED, PAGE, STEP_MAX, Scene, expect};

/// What the console says once the edge's time is the machine's.
const SET_BY_EDGE: &str = "Clock set by service edge edge.outgate.example";

#[test]
fn a_machine_whose_dhcp_names_no_time_server_enrols_and_connects_with_its_clock_in_1970() {
    let mut scene = scene!("time none");
    scene.lab.network().set_lease_terms(LeaseTerms {
        time_servers: Vec::new(),
        ..LeaseTerms::default()
    });
    enrols_with_rtc_at(&mut scene, "1970-01-01T00:00:00");
}

#[test]
fn a_machine_whose_ntp_is_blocked_enrols_and_connects_with_its_clock_in_2038() {
    let mut scene = scene!("time blocked");
    silence_ntp(&scene);
    enrols_with_rtc_at(&mut scene, "2038-01-19T03:20:00");
}

fn enrols_with_rtc_at(scene: &mut Scene, time: &str) {
    let options = with_rtc(time);
    let appliance = scene.boot_to_prompt_with(&options);
    let key = scene.mint_key(&[]);
    expect(appliance.type_line(&key));
    expect(appliance.wait_for(SET_BY_EDGE, STEP_MAX));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(scene.fetch(PAGE).status, 200);
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
    assert!(!appliance.console().text().contains("Clock set by NTP"));
}

#[test]
fn an_enrolled_machine_that_boots_with_a_wrong_clock_and_without_ntp_connects_by_itself() {
    let mut scene = scene!("time again");
    let appliance = scene.boot_and_enrol();
    assert!(
        appliance
            .console()
            .text()
            .contains("Clock set by NTP server")
    );
    assert!(expect(appliance.power_off()).success());
    silence_ntp(&scene);
    // Its certificate is not valid yet, and then not any more.
    for time in ["1970-01-01T00:00:00", "2038-01-19T03:20:00"] {
        let again = expect(scene.lab.boot(&with_rtc(time)));
        expect(again.wait_for(SET_BY_EDGE, BOOT_MAX));
        expect(again.wait_for(CONNECTED, STEP_MAX));
        assert_eq!(scene.fetch(PAGE).status, 200);
        again.cut_power();
    }
    assert_eq!(scene.uses_and_connectors(), (1, 1));
}

#[test]
fn while_neither_ntp_nor_the_edge_answers_the_console_says_so_and_either_one_helps() {
    let mut scene = scene!("time neither");
    let appliance = scene.boot_and_enrol();
    assert!(expect(appliance.power_off()).success());
    silence_ntp(&scene);
    scene.edge().kill();
    let again = expect(scene.lab.boot(&with_rtc("2038-01-19T03:20:00")));
    expect(again.wait_for("Waiting for an NTP server's answer", BOOT_MAX));
    expect(again.wait_for("Waiting for the service edge's time", STEP_MAX));
    expect(again.wait_for("203.0.113.10:443 refuses", STEP_MAX));
    scene
        .lab
        .network()
        .with_faults(|faults| faults.ntp_silent = false);
    let set_by_ntp = format!("Clock set by NTP server {TIME_SERVER}");
    expect(again.wait_for(&set_by_ntp, STEP_MAX));
    expect(scene.edge().restart());
    expect(again.wait_for(CONNECTED, STEP_MAX));
}

fn silence_ntp(scene: &Scene) {
    scene
        .lab
        .network()
        .with_faults(|faults| faults.ntp_silent = true);
}

fn with_rtc(time: &str) -> BootOptions {
    BootOptions {
        rtc: Rtc::At(time.to_owned()),
        ..BootOptions::default()
    }
}
