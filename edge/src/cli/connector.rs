//! `edge connector`.

use connector_proto::time::UnixSeconds;
use serde_json::json;

use super::commands::ConnectorCommand;
use super::output::{Answer, sheet, table, time};
use crate::authority::open_store;
use crate::config::DataDir;
use crate::server::is_served;
use crate::store::Store;
use crate::store::detail::{Certificate, Detail, Held};
use crate::{Error, clock};

pub(super) fn run(data: &DataDir, command: ConnectorCommand) -> Answer {
    let store = open_store(data)?;
    let act = |done: &str, connector: &str, act: Act| {
        let name = act(&store, connector, clock::unix_now())?;
        Ok((format!("{done} connector {name}"), json!({ "name": name })))
    };
    match command {
        ConnectorCommand::List => list(data, &store),
        ConnectorCommand::Show { connector } => show(data, &store, &connector),
        ConnectorCommand::Confirm { connector } => {
            act("confirmed", &connector, Store::confirm_connector)
        }
        ConnectorCommand::Disable { connector } => {
            act("disabled", &connector, Store::disable_connector)
        }
        ConnectorCommand::Enable { connector } => {
            act("enabled", &connector, Store::enable_connector)
        }
        ConnectorCommand::Delete { connector } => {
            act("deleted", &connector, Store::delete_connector)
        }
        ConnectorCommand::Revoke { connector } => {
            act("revoked", &connector, Store::revoke_connector)
        }
        ConnectorCommand::Rename {
            connector,
            new_name,
        } => {
            store.rename_connector(&connector, &new_name, clock::unix_now())?;
            Ok((
                format!("renamed connector {connector} to {new_name}"),
                json!({ "name": new_name }),
            ))
        }
    }
}

/// What is done to a connector named by name or id; its name.
type Act = fn(&Store, &str, UnixSeconds) -> Result<String, Error>;

fn show(data: &DataDir, store: &Store, connector: &str) -> Answer {
    let mut detail = store.connector_detail(connector)?;
    if !is_served(data)? {
        detail.connector.connected = false;
        detail.connector.connected_at = None;
    }
    Ok((shown(&detail), json!(detail)))
}

fn shown(detail: &Detail) -> String {
    let one = &detail.connector;
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    let yes_no = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        ("name", one.name.clone()),
        ("id", one.id.clone()),
        ("group", one.group.clone()),
        ("state", one.state.clone()),
        ("connected", yes_no(one.connected)),
        ("last seen", one.last_seen.map_or("never".into(), time)),
        ("version", or_none(one.version.as_deref().unwrap_or(""))),
        ("address", or_none(one.address.as_deref().unwrap_or(""))),
        ("enrolled", time(one.created_at)),
        ("MAC", one.mac.clone()),
        ("UUID", one.smbios_uuid.clone()),
        ("VM generation", or_none(&detail.vm_generation)),
        ("TPM key", or_none(&detail.tpm)),
        ("trusts the roots", yes_no(detail.trusts_roots)),
    ];
    rows.extend(detail.certificates.iter().map(certificate));
    rows.push((
        "held machine",
        detail.held.as_ref().map_or("none".into(), held),
    ));
    sheet(&rows)
}

fn certificate(certificate: &Certificate) -> (&'static str, String) {
    let state = match (certificate.superseded_at, certificate.used_at) {
        (Some(at), _) => format!("superseded {}", time(at)),
        (None, Some(at)) => format!("used since {}", time(at)),
        (None, None) => "not used yet".into(),
    };
    let Certificate {
        generation,
        issued_at,
        not_after,
        ..
    } = certificate;
    let (from, until) = (time(*issued_at), time(*not_after));
    (
        "certificate",
        format!("{generation}: {from} to {until}, {state}"),
    )
}

fn held(held: &Held) -> String {
    let Held {
        verdict,
        mac,
        smbios_uuid,
        address,
        at,
        ..
    } = held;
    format!(
        "{verdict}: MAC {mac}, UUID {smbios_uuid}, from {address}, {}",
        time(*at)
    )
}

fn list(data: &DataDir, store: &Store) -> Answer {
    let mut connectors = store.connectors()?;
    if !is_served(data)? {
        // An edge that was killed could not write down that its tunnels ended.
        for connector in &mut connectors {
            connector.connected = false;
            connector.connected_at = None;
        }
    }
    let rows = connectors.iter().map(|one| {
        vec![
            one.name.clone(),
            one.group.clone(),
            one.state.clone(),
            if one.connected { "yes" } else { "no" }.into(),
            one.last_seen.map_or("never".into(), time),
            one.version.clone().unwrap_or_default(),
            one.address.clone().unwrap_or_default(),
            one.id.clone(),
        ]
    });
    let header = [
        "CONNECTOR",
        "GROUP",
        "STATE",
        "CONNECTED",
        "LAST SEEN",
        "VERSION",
        "ADDRESS",
        "ID",
    ];
    Ok((table(&header, rows.collect()), json!(connectors)))
}
