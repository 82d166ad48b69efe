//! A CA that takes another's place while connectors are connected.

use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::control::ConnectorEvent;
use connector_proto::message::ALPN_CONTROL;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use crate::harness::{Identity, Machine, Program, dial, enrol, next_event, soon, until};
use crate::renewal::{another, renew, with_certificate};

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_the_ca_loses_nobody_who_was_there_and_names_who_was_not() {
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let key = program.mint(4);
    let enrolled = async || {
        let machine = Machine::new();
        let enrolment = enrol(edge.control, &key, &machine).await.unwrap();
        Identity { machine, enrolment }
    };
    let (one, two, away) = (enrolled().await, enrolled().await, enrolled().await);
    let (one, two) = (Arc::new(one), Arc::new(two));
    let channels = [
        Live::start(&one, edge.control).await,
        Live::start(&two, edge.control).await,
    ];

    program.text(&["authority", "rotate"]);
    until("the next CA on every connected connector", || {
        waits_for(&program, "next") == [away.name()]
    })
    .await;
    let refused = program.run(&["authority", "use-next"], "");
    assert_eq!(refused.status.code(), Some(1));
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        problem.contains(away.name()) && problem.contains("--force"),
        "{problem}"
    );
    assert!(!problem.contains(one.name()), "{problem}");
    let used = program.json(&["authority", "use-next", "--force"]);
    assert_eq!(used["lost"], serde_json::json!([away.name()]));
    until("certificates of the new CA", || {
        waits_for(&program, "retiring").len() == 3
    })
    .await;
    // The edge itself is the new CA's within a second, and so is whom it enrols.
    soon("the edge's new certificate", async {
        while away.dial(edge.control, ALPN_CONTROL).await.is_ok() {}
    })
    .await;
    let late = enrolled().await;
    assert_ne!(late.enrolment.ca, one.enrolment.ca);
    drop(late.connect(edge.control).await);

    let old = Arc::clone(&one);
    let (one, two) = (
        renewed(&one, edge.control).await,
        renewed(&two, edge.control).await,
    );
    for channel in channels {
        channel.stop().await;
    }
    for identity in [&one, &two] {
        drop(identity.connect(edge.control).await);
    }
    assert_eq!(waits_for(&program, "retiring"), [away.name()]);
    let refused = program.run(&["authority", "retire"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(is_let_in(&old, edge.control).await, "up to its greeting");
    let retired = program.json(&["authority", "retire", "--force"]);
    assert_eq!(retired["lost"], serde_json::json!([away.name()]));
    soon("the refusal of the old certificate", async {
        while is_let_in(&old, edge.control).await {}
    })
    .await;
    for identity in [&one, &two, &late] {
        drop(identity.connect(edge.control).await);
    }

    // Who was off meanwhile finds an edge that it does not know, and enrols anew.
    let unknown = away.dial(edge.control, ALPN_CONTROL).await.unwrap_err();
    assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");
    let machine = Machine::new();
    let enrolment = enrol(edge.control, &program.mint(1), &machine)
        .await
        .unwrap();
    drop(Identity { machine, enrolment }.connect(edge.control).await);
    program.text(&["audit", "verify"]);
    assert_eq!(edge.terminate().0, Some(0));
}

/// A control channel that does what the edge asks, until the edge ends it.
struct Live(JoinHandle<()>);

impl Live {
    async fn start(identity: &Arc<Identity>, edge: SocketAddr) -> Self {
        let (mut tls, mut channel) = identity.connect(edge).await;
        let identity = Arc::clone(identity);
        Self(tokio::spawn(async move {
            while let Ok(event) = next_event(&mut tls, &mut channel).await {
                if let Some(ConnectorEvent::Closed { .. }) = identity.heed(&mut channel, event) {
                    return;
                }
            }
        }))
    }

    /// Ends it, which is not what the edge has done before.
    async fn stop(self) {
        self.0.abort();
        let ended = self.0.await.unwrap_err();
        assert!(ended.is_cancelled(), "the edge ended the channel");
    }
}

/// The connector with its next certificate.
async fn renewed(identity: &Identity, edge: SocketAddr) -> Identity {
    let request = another(&identity.machine);
    let (certificate, _) = renew(identity, edge, &request).await.unwrap();
    with_certificate(identity, request, certificate)
}

/// Whom the next step waits for, as the list says beside the CA in this state.
fn waits_for(program: &Program, state: &str) -> Vec<String> {
    let list = program.json(&["authority", "list"]);
    let is_it = |root: &&Value| root["state"] == state;
    let root = list.as_array().unwrap().iter().find(is_it).unwrap();
    serde_json::from_value(root["waits_for"].clone()).unwrap()
}

/// Whether a certificate passes the handshake, whatever the edge's own is.
async fn is_let_in(identity: &Identity, edge: SocketAddr) -> bool {
    let key = identity.machine.key.serialized_der().to_vec();
    let certificate = Some((identity.enrolment.certificate.clone(), key));
    let Ok(mut tls) = dial(edge, ALPN_CONTROL, None, certificate).await else {
        return false;
    };
    let mut first = [0; 64];
    let heard = tokio::time::timeout(std::time::Duration::from_millis(300), tls.read(&mut first));
    heard.await.is_err()
}
