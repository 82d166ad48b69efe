//! Addresses that are never dialled: grants for them are good, the users may, and the names resolve.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tests::appliance::{Appliance, BootOptions};
use tests::network::address::{APPLICATION, RESOLVER};
use tests::network::connect_proxy::base64;
use tests::network::segment::Segment;
use tests::pcap::Direction;
use tests::scene;
use tests::scene::{GROUP, STEP_MAX, Scene, USER, expect};

/// Nothing in the lab listens there.
const PORT: u16 = 8080;

/// Ten lines of a service in a second are kept.
const PACE: Duration = Duration::from_millis(110);

/// Spellings, and the address that each is: what a resolver that plays along says of those that are no
/// address to the connector.
const SPELLINGS: [(&str, &str); 66] = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.1.2.3", "127.1.2.3"),
    ("127.255.255.254", "127.255.255.254"),
    ("127.1", "127.0.0.1"),
    ("127.0.1", "127.0.0.1"),
    ("2130706433", "127.0.0.1"),
    ("017700000001", "127.0.0.1"),
    ("0x7f000001", "127.0.0.1"),
    ("0x7f.1", "127.0.0.1"),
    ("0x7f.0.0.0x1", "127.0.0.1"),
    ("0X7F.0.0.1", "127.0.0.1"),
    ("0177.0.0.1", "127.0.0.1"),
    ("127.000.000.001", "127.0.0.1"),
    ("127.0.0.1.", "127.0.0.1"),
    ("127.0.0.1..", "127.0.0.1"),
    ("localhost", "127.0.0.1"),
    ("localhost.", "127.0.0.1"),
    ("LocalHost.LocalDomain", "127.0.0.1"),
    ("127-0-0-1.names.example", "127.0.0.1"),
    ("xn--127-0-0-1-digits.example", "127.0.0.1"),
    ("six.names.example", "::1"),
    ("mapped.names.example", "::ffff:127.0.0.1"),
    ("::1", "::1"),
    ("0:0:0:0:0:0:0:1", "::1"),
    ("0000:0000:0000:0000:0000:0000:0000:0001", "::1"),
    ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
    ("::ffff:7f00:1", "::ffff:127.0.0.1"),
    ("::FFFF:7F00:0001", "::ffff:127.0.0.1"),
    ("0:0:0:0:0:ffff:127.0.0.1", "::ffff:127.0.0.1"),
    ("::127.0.0.1", "::127.0.0.1"),
    ("::ffff:0:127.0.0.1", "::ffff:0:127.0.0.1"),
    ("64:ff9b::127.0.0.1", "64:ff9b::127.0.0.1"),
    ("64:ff9b:1:2:3:4:127.0.0.1", "64:ff9b:1:2:3:4:127.0.0.1"),
    ("2002:7f00:1::", "2002:7f00:1::"),
    ("2001:db8::5efe:127.0.0.1", "2001:db8::5efe:127.0.0.1"),
    ("0.0.0.0", "0.0.0.0"),
    ("0", "0.0.0.0"),
    ("0.1.2.3", "0.1.2.3"),
    ("::", "::"),
    ("169.254.169.254", "169.254.169.254"),
    ("169.254.0.1", "169.254.0.1"),
    ("2852039166", "169.254.169.254"),
    ("0xa9fea9fe", "169.254.169.254"),
    ("0251.0376.0251.0376", "169.254.169.254"),
    ("metadata.names.example", "169.254.169.254"),
    ("::ffff:169.254.169.254", "::ffff:169.254.169.254"),
    ("64:ff9b::a9fe:a9fe", "64:ff9b::a9fe:a9fe"),
    ("fe80::1", "fe80::1"),
    ("febf:ffff::1", "febf:ffff::1"),
    ("100.100.100.200", "100.100.100.200"),
    ("168.63.129.16", "168.63.129.16"),
    ("192.0.0.192", "192.0.0.192"),
    ("fd00:ec2::254", "fd00:ec2::254"),
    ("224.0.0.1", "224.0.0.1"),
    ("ff02::1", "ff02::1"),
    ("255.255.255.255", "255.255.255.255"),
    ("240.0.0.1", "240.0.0.1"),
    // The connector's own address, its gateway's and its edge's.
    ("10.77.0.15", "10.77.0.15"),
    ("172818447", "10.77.0.15"),
    ("::ffff:10.77.0.15", "::ffff:10.77.0.15"),
    ("10.77.0.1", "10.77.0.1"),
    ("64:ff9b::10.77.0.1", "64:ff9b::10.77.0.1"),
    ("203.0.113.10", "203.0.113.10"),
    ("::ffff:203.0.113.10", "::ffff:203.0.113.10"),
    ("edge.outgate.example", "203.0.113.10"),
    ("3405803786", "203.0.113.10"),
];

/// Spellings that the edge takes for no host at all.
const NO_HOSTS: [&str; 5] = [
    "fe80::1%eth0",
    "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "\u{2460}\u{2461}\u{2466}.0.0.1",
    "127.0.0.1 ",
];

#[test]
fn no_spelling_of_a_forbidden_address_is_dialled_and_each_refusal_is_said_logged_and_audited() {
    let mut scene = scene!("addresses");
    let appliance = enrolled_beside_the_agent(&mut scene);
    let calibration = opened_unseen(&scene, &appliance);
    for spelling in NO_HOSTS {
        let port = PORT.to_string();
        let refused = scene.edge().admin(&app("none", spelling, &port));
        assert!(refused.is_err(), "{spelling:?} was taken for a host");
    }
    for (number, (spelling, address)) in SPELLINGS.iter().enumerate() {
        if spelling.parse::<IpAddr>().is_err() {
            let address: IpAddr = expect(address.parse());
            scene.lab.network().set_name(spelling, address);
        }
        let (name, port) = (format!("spelling-{number}"), PORT.to_string());
        scene.admin(&app(&name, spelling, &port));
    }

    let every_line = "set /proc/sys/kernel/printk_devkmsg on";
    let set = expect(appliance.ask_agent(every_line));
    assert!(set.starts_with("set "), "{set}");
    for (spelling, _) in SPELLINGS {
        let answer = ask(&mut scene, spelling, PORT);
        std::thread::sleep(PACE);
        assert!(
            answer.starts_with("HTTP/1.1 502 ")
                && answer.contains("the application's address is one that is never dialled")
                && answer.contains(&format!("{}:{PORT}", as_compared(spelling))),
            "{spelling}: {answer}"
        );
    }

    let audit = scene
        .admin(&["audit", "list", "--last", "1000"])
        .to_string();
    let log = expect(appliance.ask_agent("log"));
    for (spelling, _) in SPELLINGS {
        let host = as_compared(spelling);
        let noted = format!("cannot reach {host}:{PORT}: the application's address");
        assert!(
            audit.contains("session_refused") && audit.contains(&noted),
            "{spelling} is not in the audit log: {audit}"
        );
        let logged = format!(" to {host}:{PORT} is refused: ");
        assert!(
            log.contains(&logged),
            "{spelling} is not in the log:\n{log}"
        );
    }
    assert_every_connection_is_in_the_capture(&scene, &appliance, calibration);
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

#[test]
fn a_name_that_flips_to_loopback_is_dialled_where_it_was_checked_or_not_at_all() {
    let mut scene = scene!("flipping name");
    let appliance = enrolled_beside_the_agent(&mut scene);
    let calibration = opened_unseen(&scene, &appliance);
    let (good, bad) = (*APPLICATION.ip(), Ipv4Addr::LOCALHOST);
    let names = [
        ("good-first.example", [good, bad]),
        ("bad-first.example", [bad, good]),
    ];
    for (number, (name, order)) in names.iter().enumerate() {
        let turns: Vec<_> = order.iter().copied().cycle().take(64).collect();
        scene.lab.network().set_addresses_in_turn(name, &turns);
        scene.admin(&app(&format!("flips-{number}"), name, "80"));
    }
    scene
        .lab
        .network()
        .set_addresses("both.example", &[bad.into(), good.into()]);
    scene.admin(&app("both", "both.example", "80"));

    for (name, _) in names {
        let (mut carried, mut refused) = (0, 0);
        for _ in 0..6 {
            let dialled = connections(&scene, Some(APPLICATION.into())).len();
            let answer = ask(&mut scene, name, 80);
            let now = connections(&scene, Some(APPLICATION.into())).len();
            if answer.starts_with("HTTP/1.1 200 ") {
                carried += 1;
                assert_eq!(now, dialled + 1, "{name}: {answer}");
            } else {
                refused += 1;
                assert!(
                    answer.contains("127.0.0.1, which is never dialled"),
                    "{answer}"
                );
                assert_eq!(now, dialled, "{name}: {answer}");
            }
        }
        assert!(carried > 0 && refused > 0, "{name}: {carried}, {refused}");
    }
    // Of two addresses only the one that may be is dialled.
    assert!(ask(&mut scene, "both.example", 80).starts_with("HTTP/1.1 200 "));
    assert_every_connection_is_in_the_capture(&scene, &appliance, calibration);
    scene.lab.assert_only_allowed_traffic(&[APPLICATION]);
}

fn enrolled_beside_the_agent(scene: &mut Scene) -> Appliance {
    scene.boot_and_enrol_with(&BootOptions {
        agent: true,
        ..BootOptions::default()
    })
}

/// As edge and connector compare hosts: in lower case, without one dot at the end.
fn as_compared(spelling: &str) -> String {
    let bare = spelling.strip_suffix('.').unwrap_or(spelling);
    bare.to_ascii_lowercase()
}

fn app<'word>(name: &'word str, host: &'word str, port: &'word str) -> [&'word str; 10] {
    [
        "app", "add", "--group", GROUP, "--name", name, "--host", host, "--port", port,
    ]
}

/// What the edge answers a user who asks for this host as it is spelled. Programs for users change
/// spellings before they ask.
fn ask(scene: &mut Scene, host: &str, port: u16) -> String {
    let credentials = base64(format!("{USER}:{}", scene.password()).as_bytes());
    let mut stream = expect(TcpStream::connect(scene.edge().proxy()));
    expect(stream.set_read_timeout(Some(STEP_MAX)));
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let head = format!(
        "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"
    );
    expect(stream.write_all(head.as_bytes()));
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    // A session stays open; a refusal ends.
    while !answer.starts_with(b"HTTP/1.1 200 ") {
        match expect(stream.read(&mut part)) {
            0 => break,
            len => answer.extend_from_slice(&part[..len]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Connections that the guest began, by the capture: from where to where.
fn connections(scene: &Scene, to: Option<SocketAddr>) -> BTreeSet<(SocketAddr, SocketAddr)> {
    let frames = scene.lab.network().capture().frames();
    let of_guest = frames
        .iter()
        .filter(|frame| frame.direction == Direction::FromGuest);
    let segments = of_guest.filter_map(|frame| Segment::parse(&frame.bytes));
    segments
        .filter(|segment| segment.opens && to.is_none_or(|to| segment.to == to))
        .map(|segment| (segment.from, segment.to))
        .collect()
}

/// Connections that no capture shows: those of the calibration at the connector's start, which tries both
/// engines over the loopback. Told when two looks agree, for one may fall between a count and its frame.
fn opened_unseen(scene: &Scene, appliance: &Appliance) -> usize {
    let look = || {
        let seen = connections(scene, None).len();
        opened(appliance).checked_sub(seen)
    };
    let start = Instant::now();
    let mut before = look();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = look();
        if let Some(unseen) = now.filter(|_| now == before) {
            return unseen;
        }
        assert!(start.elapsed() < STEP_MAX, "the counts do not settle");
        before = now;
    }
}

/// The kernel counts what it opens, over the loopback too, which no capture sees.
fn assert_every_connection_is_in_the_capture(
    scene: &Scene,
    appliance: &Appliance,
    calibration: usize,
) {
    let start = Instant::now();
    loop {
        let seen = connections(scene, None);
        let opened = opened(appliance);
        // One that is begun between the two is in the next count.
        if seen.len() + calibration == opened {
            assert!(!seen.is_empty() && seen.iter().all(|(_, to)| to.ip() != RESOLVER));
            return;
        }
        assert!(
            start.elapsed() < STEP_MAX,
            "the kernel opened {opened} connections, {calibration} of them to calibrate; on the \
             wire are {seen:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Connections that the guest's kernel has opened since it started.
fn opened(appliance: &Appliance) -> usize {
    active_opens(&expect(appliance.ask_agent("cat /proc/net/snmp")))
}

/// The field ActiveOpens of the line of names and the line of values.
fn active_opens(snmp: &str) -> usize {
    let mut lines = snmp
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Tcp: "));
    let (names, values) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let place = names.split(' ').position(|name| name == "ActiveOpens");
    let value = place.and_then(|place| values.split(' ').nth(place)?.parse().ok());
    match value {
        Some(value) => value,
        None => panic!("no count of connections in:\n{snmp}"),
    }
}
