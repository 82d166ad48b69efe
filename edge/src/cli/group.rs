//! `edge group`.

use serde_json::json;

use super::commands::GroupCommand;
use super::output::{Answer, sheet, table, time};
use crate::authority::open_store;
use crate::clock;
use crate::config::DataDir;
use crate::store::groups::{Change, Group};

pub(super) fn run(data: &DataDir, command: GroupCommand) -> Answer {
    let store = open_store(data)?;
    match command {
        GroupCommand::Add { name } => {
            store.add_group(&name, clock::unix_now())?;
            Ok((format!("added group {name}"), json!({ "group": name })))
        }
        GroupCommand::List => {
            let groups = store.groups()?;
            let header = [
                "GROUP",
                "CONNECTORS",
                "APPLICATIONS",
                "CERTIFICATES",
                "MOVED NIC",
            ];
            Ok((
                table(&header, groups.iter().map(row).collect()),
                json!(groups),
            ))
        }
        GroupCommand::Set {
            name,
            certificate_life,
            moved_nic,
        } => {
            let change = Change {
                certificate_life,
                moved_nic,
            };
            store.set_group(&name, &change, clock::unix_now())?;
            Ok((format!("changed group {name}"), json!(store.group(&name)?)))
        }
        GroupCommand::Show { name } => {
            let group = store.group(&name)?;
            Ok((shown(&group), json!(group)))
        }
    }
}

fn row(group: &Group) -> Vec<String> {
    vec![
        group.name.clone(),
        group.connectors.to_string(),
        group.applications.to_string(),
        life(group.certificate_life_s),
        group.moved_nic.clone(),
    ]
}

fn shown(group: &Group) -> String {
    sheet(&[
        ("name", group.name.clone()),
        ("connectors", group.connectors.to_string()),
        ("applications", group.applications.to_string()),
        ("certificates hold", life(group.certificate_life_s)),
        ("moved NIC", group.moved_nic.clone()),
        ("created", time(group.created_at)),
    ])
}

/// As `--certificate-life` takes it.
fn life(seconds: u32) -> String {
    match seconds {
        whole if whole % 86_400 == 0 => format!("{}d", whole / 86_400),
        whole if whole % 3600 == 0 => format!("{}h", whole / 3600),
        other => format!("{other}s"),
    }
}
