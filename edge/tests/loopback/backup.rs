//! Backups: made while the edge serves, restored by being used.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use connector_proto::control::ConnectorEvent;
use connector_proto::message::Verdict;
use tokio::task::JoinSet;

use crate::harness::{Identity, Machine, Program, enrol, next_event, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_made_while_the_edge_serves_lets_its_connectors_in_when_it_is_restored() {
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let machine = Machine::new();
    let enrolment = enrol(edge.control, &program.mint(1), &machine)
        .await
        .unwrap();
    let identity = Identity { machine, enrolment };
    drop(identity.connect(edge.control).await);
    // Enrolments go on while the copy is made.
    let key = program.mint(50);
    let mut others = JoinSet::new();
    for _ in 0..50 {
        let (address, key) = (edge.control, key.clone());
        others.spawn(async move { enrol(address, &key, &Machine::new()).await.unwrap() });
    }
    others.join_next().await.unwrap().unwrap();
    let copy = Program::at(program.dir.with_extension("copy"));
    let said = program.json(&["backup", copy.dir.to_str().unwrap()]);
    assert_eq!(said["backup"].as_str(), copy.dir.to_str());
    others.join_all().await;
    // The connector goes on as well: what it has stored is newer than what the copy knows.
    drop(identity.connect(edge.control).await);
    assert_eq!(edge.terminate().0, Some(0));

    assert_eq!(mode(&copy.dir), 0o700);
    for file in std::fs::read_dir(&copy.dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    copy.text(&["audit", "verify"]);
    let events = copy.json(&["audit", "list", "--last", "1000"]);
    let made = |row: &&serde_json::Value| row["event"] == "backup_made";
    assert_eq!(events.as_array().unwrap().iter().filter(made).count(), 1);
    let enrolled = copy.connectors().len();
    assert_eq!(u64::try_from(enrolled).unwrap(), copy.uses());
    assert!((1..=51).contains(&enrolled), "{enrolled}");

    let restored = copy.serve("127.0.0.1:0");
    let (mut tls, mut channel, event) = identity.greet(restored.control).await;
    let taken_for = ConnectorEvent::Recognised {
        verdict: Verdict::Reverted,
        admitted: true,
    };
    assert_eq!(event, taken_for);
    let event = soon("the welcome", next_event(&mut tls, &mut channel)).await;
    assert!(
        matches!(event, Ok(ConnectorEvent::Welcomed { .. })),
        "{event:?}"
    );
    enrol(restored.control, &copy.mint(1), &Machine::new())
        .await
        .unwrap();
    assert_eq!(restored.terminate().0, Some(0));
    copy.text(&["audit", "verify"]);
}

#[test]
fn a_backup_goes_into_an_empty_directory_only() {
    let program = Program::with_edge();
    let copy = Program::at(program.dir.with_extension("copy"));
    let to = copy.dir.to_str().unwrap();
    program.text(&["backup", to]);
    let before = std::fs::read(copy.dir.join("edge.sqlite")).unwrap();
    let refused = program.run(&["backup", to], "");
    assert_eq!(refused.status.code(), Some(1));
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(problem.contains("not empty"), "{problem}");
    assert_eq!(std::fs::read(copy.dir.join("edge.sqlite")).unwrap(), before);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
