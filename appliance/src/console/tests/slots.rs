//! Which system runs, what it was minted for, and what is said about slots.

use connector_proto::local::{
    Boot, Fact, FallbackReason, Phase, SlotContent, SlotName, SlotReply, SlotStatus, ToConsole,
};

use super::{Operator, clock, connected, lease};

const MINTED: [u8; 6] = [0, 0x50, 0x56, 0x12, 0x34, 0x56];

#[test]
fn a_minted_image_says_whose_it_is_and_that_the_nic_is_right() {
    let mut operator = Operator::new();
    operator.fact(1_000_000, minted());
    operator.fact(1_000_000, system(SlotName::A, Boot::Good));
    operator.fact(2_000_000, nic(MINTED));
    assert_eq!(
        operator.history(0),
        [
            "[     1.00] Image for mumbai-01 (Mumbai)",
            "[     1.00] Outgate 0.1.0 in slot a",
            "[     2.00] NIC eth0 MAC 00:50:56:12:34:56, as minted",
        ]
    );
    operator.forget_history();
    operator.fact(3_000_000, minted());
    operator.fact(3_000_000, system(SlotName::A, Boot::Good));
    assert_eq!(operator.history(0), [""; 0]);
}

#[test]
fn a_nic_with_another_address_is_a_plain_warning() {
    let mut operator = Operator::new();
    operator.fact(1_000_000, minted());
    operator.fact(2_000_000, nic([8, 0, 0x27, 1, 2, 3]));
    assert_eq!(
        operator.history(0)[1..],
        [
            "[     2.00] NIC eth0 MAC 08:00:27:01:02:03; this image was minted for",
            "            00:50:56:12:34:56: set it in the VM's settings.",
        ]
    );
}

#[test]
fn a_disk_that_comes_after_the_nic_has_the_nic_judged_again() {
    let mut operator = Operator::new();
    operator.fact(2_000_000, nic(MINTED));
    operator.fact(3_000_000, minted());
    assert_eq!(
        operator.history(0),
        [
            "[     2.00] NIC eth0 00:50:56:12:34:56",
            "[     3.00] Image for mumbai-01 (Mumbai)",
            "[     3.00] NIC eth0 MAC 00:50:56:12:34:56, as minted",
        ]
    );
}

#[test]
fn a_fallback_names_the_slot_that_failed_and_the_one_that_runs() {
    for (why, line) in [
        (
            FallbackReason::TriesSpent,
            "[     0.00] Slot b did not start well 3 times: running 0.1.0 from slot a again.",
        ),
        (
            FallbackReason::NotLoaded,
            "[     0.00] Slot b cannot be loaded: running 0.1.0 from slot a.",
        ),
    ] {
        let mut operator = Operator::new();
        let from = SlotName::B;
        operator.fact(0, system(SlotName::A, Boot::Fallback { from, why }));
        assert_eq!(operator.history(0), [line]);
    }
    let mut operator = Operator::new();
    let unknown = Fact::System {
        slot: None,
        version: "0.1.0".try_into().unwrap(),
        boot: Boot::Unknown,
    };
    operator.fact(0, unknown);
    assert!(operator.history(0)[0].contains("in an unknown slot"));
}

#[test]
fn a_trial_says_what_it_waits_for_and_how_long_it_has_until_it_is_kept() {
    let mut operator = Operator::new();
    operator.fact(
        3_000_000,
        system(
            SlotName::B,
            Boot::Trial {
                left: 2,
                until_boot_us: 600_000_000,
            },
        ),
    );
    assert_eq!(
        operator.history(0),
        [
            "[     3.00] Outgate 0.1.0 in slot b, on trial (2 more tries): kept once the",
            "            clock is right and the edge connected; if not by 10:00 after the",
            "            start, the machine restarts.",
        ]
    );
    assert_eq!(
        operator.live(0),
        "Starting. Trial: 9:57 left to set the clock and connect"
    );
    operator.fact(4_000_000, Fact::NetUp(lease()));
    operator.fact(5_000_000, clock(0));
    assert_eq!(operator.live(0), "Starting. Trial: 9:55 left to connect");
    operator.status(connected());
    operator.forget_history();
    operator.fact(6_000_000, system(SlotName::B, Boot::Good));
    assert_eq!(operator.history(0), ["[     6.00] Outgate 0.1.0 in slot b"]);
    assert!(!operator.live(0).contains("Trial"), "{}", operator.live(0));
}

#[test]
fn a_trial_takes_no_room_that_the_live_line_or_the_prompt_needs() {
    let mut operator = Operator::asked_for_key();
    let boot = Boot::Trial {
        left: 0,
        until_boot_us: 7_200_000_000,
    };
    operator.fact(operator.now_us, system(SlotName::B, boot));
    assert_eq!(operator.live(0), "Provisioning key:");
    operator.status(connected());
    assert_eq!(
        operator.live(0),
        "Connected to edge.example for 0:00. 2 sessions, 14 MB up, 3 MB down"
    );
    operator.status(Phase::Stuck {
        text: "no disk".try_into().unwrap(),
    });
    assert_eq!(
        operator.live(0),
        "Stopped: no disk. Trial: 1:59:50 left to set the clock and connect"
    );
}

#[test]
fn the_answers_about_slots_leave_their_lines() {
    let mut operator = Operator::new();
    operator.now_us = 9_000_000;
    operator.message(ToConsole::Slot(SlotReply::Status(SlotStatus {
        running: Some(SlotName::A),
        good: SlotName::A,
        trial: Some((SlotName::B, 3)),
        a: SlotContent::System("0.1.0".try_into().unwrap()),
        b: SlotContent::Unusable("empty\x1b[2J".try_into().unwrap()),
    })));
    let refused = "Slot a runs and is never written to: use slot b.";
    operator.message(ToConsole::Slot(SlotReply::Refused(
        refused.try_into().unwrap(),
    )));
    assert_eq!(
        operator.history(0),
        [
            "[     9.00] Slot a: 0.1.0, running, good",
            r"[     9.00] Slot b: nothing to boot, empty\u{1b}[2J, on trial, tries left 3",
            "[     9.00] Slot a runs and is never written to: use slot b.",
        ]
    );
}

fn minted() -> Fact {
    Fact::Minted {
        name: Some("mumbai-01".try_into().unwrap()),
        mac: Some(MINTED),
        group: Some("Mumbai".try_into().unwrap()),
    }
}

fn nic(mac: [u8; 6]) -> Fact {
    Fact::Nic {
        interface: "eth0".try_into().unwrap(),
        mac,
    }
}

fn system(slot: SlotName, boot: Boot) -> Fact {
    Fact::System {
        slot: Some(slot),
        version: "0.1.0".try_into().unwrap(),
        boot,
    }
}
