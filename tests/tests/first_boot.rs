//! From power-on to a private page: the promise of the README.

use std::time::Duration;

use tests::network::address::APPLICATION;
use tests::network::http::PAGE_MARKER;
use tests::scene;
use tests::scene::{CONNECTED, PAGE, STEP_MAX, expect};

#[test]
fn a_key_typed_on_the_serial_console_brings_the_private_page_to_the_user() {
    let mut scene = scene!("serial");
    let mut appliance = scene.boot_to_prompt();

    // The other terminal asks the same.
    let screen = expect(appliance.vm().vga_text()).join("\n");
    assert!(screen.contains("Provisioning key:"), "{screen}");

    // One letter is wrong, and the group is named at once.
    let key = scene.mint_key(&[]);
    let (good, bad) = with_a_wrong_letter(&key, 2);
    expect(appliance.console().type_text(&bad));
    expect(appliance.wait_for("Group 3 of 7 has a wrong letter", STEP_MAX));
    expect(appliance.console().type_text(&good));

    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    let fetched = scene.fetch(PAGE);
    assert_eq!(fetched.status, 200, "{fetched:?}");
    assert!(fetched.text().contains(PAGE_MARKER), "{fetched:?}");
    assert_eq!(scene.uses_and_connectors(), (1, 1));

    // Nothing but what a firewall team was told.
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
    expect(appliance.power_off());
}

#[test]
fn a_key_typed_on_the_emulated_keyboard_enrols_as_well() {
    let mut scene = scene!("keyboard");
    let mut appliance = scene.boot_to_prompt();
    let key = scene.mint_key(&[]);
    expect(appliance.vm().type_on_keyboard(&key));
    expect(appliance.wait_for(CONNECTED, STEP_MAX));
    let screen = expect(appliance.vm().vga_text()).join("\n");
    assert!(
        screen.contains("Connected to edge.outgate.example"),
        "{screen}"
    );
    assert!(
        !screen.contains(&key[..11]),
        "the key stays on the screen: {screen}"
    );
    assert_eq!(scene.fetch(PAGE).status, 200);
}

/// The letters from group `group` on, right and with the group's last letter replaced by another of
/// the alphabet; the wrong text ends with the wrong group.
fn with_a_wrong_letter(key: &str, group: usize) -> (String, String) {
    let groups: Vec<&str> = key.split('-').collect();
    let wrong = if groups[group].ends_with('c') {
        'b'
    } else {
        'c'
    };
    let altered = format!("{}{wrong}", &groups[group][..4]);
    let bad = format!("{}-{altered}", groups[..group].join("-"));
    (groups[group..].join("-"), bad)
}

#[test]
fn the_page_is_the_same_by_connect_and_large_bodies_arrive_whole() {
    let mut scene = scene!("bodies");
    let appliance = scene.boot_and_enrol();
    let credentials = format!("{}:{}", tests::scene::USER, scene.password());
    let plain = scene.fetch(PAGE);
    let tunnelled = scene.fetch_as(PAGE, &credentials, &["--proxytunnel"]);
    assert_eq!(
        (plain.status, &plain.body),
        (tunnelled.status, &tunnelled.body)
    );
    let large = scene.fetch(&format!("{PAGE}bytes/3000000"));
    let expected: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    assert_eq!(large.status, 200);
    assert!(
        large.body == expected,
        "{} bytes arrived, or others",
        large.body.len()
    );
    expect(appliance.wait_for("no sessions, 3 MB up", Duration::from_secs(30)));
}
