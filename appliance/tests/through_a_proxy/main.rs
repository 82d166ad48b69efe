//! The connector's connections to a real edge, by way of an HTTP proxy. The proxy alone knows where
//! the edge is: the connector has no resolver to ask.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a panic is a test's report"
)]

#[path = "../common/application.rs"]
mod application;
mod connector;
#[allow(dead_code, reason = "each of the targets that share it uses a part")]
mod edge;
#[allow(dead_code, reason = "each of the targets that share it uses a part")]
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/partition.rs"]
mod partition;
mod proxy;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use appliance::clock;
use appliance::proxy::ProxyError;
use appliance::tls::TlsError;
use appliance::tunnel::TunnelError;
use connector_proto::local::Phase;

use crate::application::address_beside_loopback;
use crate::connector::{enrol, enrolled, route, waited_for};
use crate::edge::{EDGE_NAME, GROUP, TestEdge};
use crate::machine::Machine;
use crate::proxy::{Conduct, TestProxy};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MONA: (&str, &str) = ("mona", "open:sesame");

#[test]
fn enrolment_and_control_channel_go_through_the_proxy_by_the_edges_name() {
    for conduct in [Conduct::Tunnel, Conduct::ByteByByte] {
        for credentials in [None, Some(MONA)] {
            let edge = TestEdge::start();
            let proxy = TestProxy::start(edge.address(), credentials, conduct);
            let connector = enrolled(&edge, &proxy.settings(credentials));
            let control = connector.control();
            assert_eq!(control.group, GROUP);
            assert_eq!(control.tunnel.address(), Some(proxy.address()));
            assert_eq!(control.tunnel.local_address(), Some(LOOPBACK));
            assert_eq!(control.tunnel.edges(), [LOOPBACK]);
            let expected =
                "CONNECT edge.example.org:443 HTTP/1.1\r\nHost: edge.example.org:443\r\n";
            let heard = proxy.heard();
            assert_eq!(heard.len(), 2, "{heard:?}");
            assert!(
                heard.iter().all(|head| head.starts_with(expected)),
                "{heard:?}"
            );
        }
    }
}

#[test]
fn a_session_goes_through_the_proxy_and_its_application_does_not() {
    let Some(outside) = address_beside_loopback() else {
        return;
    };
    let application = TcpListener::bind((outside, 0)).unwrap();
    let target = application.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut user, _) = application.accept().unwrap();
        let mut question = Vec::new();
        user.read_to_end(&mut question).unwrap();
        user.write_all(&[b"heard: ", question.as_slice()].concat())
            .unwrap();
    });
    let edge = TestEdge::start();
    edge.add_application(target);
    let proxy = TestProxy::start(edge.address(), Some(MONA), Conduct::ByteByByte);
    let machine = Machine::start(EDGE_NAME, Some(proxy.address()));
    machine.type_credentials(MONA.0, MONA.1);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key(&edge.mint());
    machine.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
    let user = edge.ask(target);
    let asking = thread::spawn(move || {
        let mut user = user.connect();
        user.write_all(b"hello").unwrap();
        user.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        user.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(asking.join().unwrap(), "heard: hello");
    serving.join().unwrap();
    machine.stop();
    let heard = proxy.heard();
    assert!(
        heard.len() >= 3,
        "enrolment, control channel, data channel: {heard:?}"
    );
    let to_edge = "CONNECT edge.example.org:443 HTTP/1.1\r\n";
    assert!(
        heard.iter().all(|head| head.starts_with(to_edge)),
        "{heard:?}"
    );
}

#[test]
fn a_proxy_that_wants_credentials_says_so_and_takes_no_wrong_ones() {
    let edge = TestEdge::start();
    let proxy = TestProxy::start(edge.address(), Some(MONA), Conduct::Tunnel);
    for (given, was_refused) in [(None, false), (Some(("mona", "wrong")), true)] {
        let error = enrol(&edge, &proxy.settings(given)).unwrap_err();
        let TunnelError::Proxy(ProxyError::NeedsCredentials { refused, realm }) = error else {
            panic!("{error}")
        };
        assert_eq!((refused, realm.as_str()), (was_refused, "Squid, the proxy"));
    }
}

#[test]
fn what_keeps_a_proxy_from_opening_the_tunnel_is_told_apart() {
    let edge = TestEdge::start();
    let refusal: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>Virus!";
    let ntlm: &[u8] = b"HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\n\r\n";
    for (conduct, sentence) in [
        (Conduct::Close, "closed the connection without an answer"),
        (Conduct::Say(b"HTTP/1.1 200 Conn"), "closed the connection"),
        (Conduct::Say(refusal), "answers 403 \"Forbidden\""),
        (
            Conduct::Say(ntlm),
            "wants NTLM and this machine knows only Basic",
        ),
        (Conduct::Say(b"SSH-2.0-OpenSSH\r\n"), "is no HTTP proxy"),
    ] {
        let proxy = TestProxy::start(edge.address(), None, conduct);
        let error = enrol(&edge, &proxy.settings(None)).unwrap_err();
        assert!(matches!(error, TunnelError::Proxy(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains(sentence) && !said.contains("Virus"), "{said}");
    }
    let proxy = TestProxy::start(edge.address(), None, Conduct::Tunnel);
    let mut settings = proxy.settings(None);
    drop(proxy);
    let error = enrol(&edge, &settings).unwrap_err().to_string();
    assert!(
        error.contains("the proxy cannot be reached: 127.0.0.1"),
        "{error}"
    );
    settings.host = "proxy.example".into();
    let error = enrol(&edge, &settings).unwrap_err().to_string();
    assert!(error.contains("the proxy's name has no address"), "{error}");
}

#[test]
fn a_proxy_that_says_nothing_is_given_up_after_fifteen_seconds() {
    let edge = TestEdge::start();
    let proxy = TestProxy::start(edge.address(), None, Conduct::Silent);
    let reach = waited_for(route(&proxy.settings(None)), || !proxy.heard().is_empty());
    let now = clock::now();
    let left = reach.deadline().since(now);
    assert!(
        left > Duration::from_secs(10) && left <= Duration::from_secs(15),
        "{left:?}"
    );
    let late = now + Duration::from_secs(15);
    let error = connector::outcome(reach.turn(late))
        .unwrap_err()
        .to_string();
    assert!(error.contains("did not answer within 15 s"), "{error}");
}

#[test]
fn what_follows_the_proxys_answer_is_left_to_the_tunnel() {
    let edge = TestEdge::start();
    let conduct = Conduct::Say(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nfirst bytes of TLS");
    let proxy = TestProxy::start(edge.address(), None, conduct);
    let reached = connector::reach(route(&proxy.settings(None))).unwrap();
    reached.socket.set_nonblocking(false).unwrap();
    let mut left = String::new();
    (&reached.socket).read_to_string(&mut left).unwrap();
    assert_eq!(left, "first bytes of TLS");
}

#[test]
fn a_proxy_that_inspects_tls_is_found_out_and_gets_no_tunnel() {
    let edge = TestEdge::start();
    let direct = TestProxy::start(edge.address(), None, Conduct::Tunnel);
    let connector = enrolled(&edge, &direct.settings(None));
    // Another edge has another authority, as an inspecting proxy has.
    let inspecting = TestEdge::start();
    let proxy = TestProxy::start(inspecting.address(), None, Conduct::Tunnel);
    let error = connector.through(&proxy.settings(None)).refused();
    assert!(
        matches!(error, TunnelError::Tls(TlsError::Tls(_))),
        "{error}"
    );
    let said = error.to_string();
    assert!(
        said.contains("does not verify (it was issued by \"outgate edge CA"),
        "{said}"
    );
    assert!(said.contains("is TLS inspected on the way?"), "{said}");
}

#[test]
fn the_whole_connector_asks_for_credentials_and_connects_with_those_that_are_typed() {
    let edge = TestEdge::start();
    let proxy = TestProxy::start(edge.address(), Some(MONA), Conduct::Tunnel);
    let machine = Machine::start(EDGE_NAME, Some(proxy.address()));
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key(&edge.mint());
    for refused in [false, true] {
        machine.wait_for(|phase| *phase == Phase::NeedProxyCredentials { refused });
        let password = if refused { MONA.1 } else { "wrong" };
        machine.type_credentials(MONA.0, password);
    }
    machine.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
    machine.stop();
}
