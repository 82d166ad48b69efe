//! `edge authority`.

use serde_json::json;

use super::commands::AuthorityCommand;
use super::output::{Answer, table, time};
use crate::authority::{not_after, open_store, retire, rotate};
use crate::clock;
use crate::config::DataDir;
use crate::store::Store;
use crate::store::roots::RootState;
use crate::text::{hex, names};

pub(super) fn run(data: &DataDir, command: AuthorityCommand) -> Answer {
    let (store, now) = (open_store(data)?, clock::unix_now());
    match command {
        AuthorityCommand::List => list(&store),
        AuthorityCommand::Rotate => {
            let certificate = rotate(data, &store, now)?;
            let id = hex(&crate::authority::sha256(&certificate));
            let text = format!(
                "made CA {}; when `authority list` waits for nobody: `authority use-next`",
                &id[..ID_LEN]
            );
            Ok((text, json!({ "ca": id })))
        }
        AuthorityCommand::UseNext { force } => {
            let lost = store.use_next_root(force, now)?;
            let text = "the next CA issues now; when `authority list` waits for nobody: \
                        `authority retire`";
            Ok((with_lost(text, &lost), json!({ "lost": lost })))
        }
        AuthorityCommand::Retire { force } => {
            let lost = retire(data, &store, force, now)?;
            Ok((
                with_lost("dropped the CA before", &lost),
                json!({ "lost": lost }),
            ))
        }
    }
}

fn list(store: &Store) -> Answer {
    let awaited = store.awaited_by_roots()?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for root in store.roots()? {
        let waits_for = match root.state {
            RootState::Active => &[][..],
            RootState::Next | RootState::Retiring => awaited.as_slice(),
        };
        let (id, until) = (hex(&root.hash()), not_after(&root.certificate));
        rows.push(vec![
            id[..ID_LEN].into(),
            root.state.as_str().into(),
            time(root.created_at),
            time(until),
            if waits_for.is_empty() {
                "nobody".into()
            } else {
                names(waits_for)
            },
        ]);
        values.push(json!({
            "ca": id,
            "state": root.state,
            "created_at": root.created_at,
            "not_after": until,
            "waits_for": waits_for,
        }));
    }
    let header = ["CA", "STATE", "SINCE", "UNTIL", "WAITS FOR"];
    Ok((table(&header, rows), json!(values)))
}

fn with_lost(text: &str, lost: &[String]) -> String {
    if lost.is_empty() {
        text.into()
    } else {
        format!("{text}. These need a key again: {}", names(lost))
    }
}

/// Hexadecimal digits of a CA's hash that name it on the screen, as they name its key file.
const ID_LEN: usize = 16;
