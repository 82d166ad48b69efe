//! The commands that read or change the store. Each returns its text and its JSON value.

use std::io::{BufRead as _, Read as _};

use connector_proto::time::UnixSeconds;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::commands::{AppCommand, AuditCommand, KeyCommand, UserCommand};
use super::output::{Answer, table, time};
use crate::authority::open_store;
use crate::config::DataDir;
use crate::passwords::{self, CREDENTIAL_MAX};
use crate::store::Store;
use crate::store::keys::KeyOrder;
use crate::store::users::NewUser;
use crate::text::hex;
use crate::{Error, clock};

pub(super) fn key(data: &DataDir, command: KeyCommand) -> Answer {
    let store = open_store(data)?;
    match command {
        KeyCommand::Mint {
            group,
            max_uses,
            expires,
            label,
        } => {
            let now = clock::unix_now();
            let expires_at = UnixSeconds(now.0.saturating_add(expires.as_secs()));
            let order = KeyOrder {
                group: &group,
                max_uses,
                expires_at,
                label: label.as_deref(),
            };
            let minted = store.mint_key(&order, now)?;
            let text = minted.key.to_text();
            let value = json!({
                "key": text.as_str(),
                "id": hex(&minted.id),
                "group": group,
                "max_uses": max_uses,
                "expires_at": expires_at.0,
            });
            Ok((text.as_str().into(), value))
        }
        KeyCommand::List => list_keys(&store),
        KeyCommand::Revoke { id } => {
            let id = store.revoke_key(&id, clock::unix_now())?;
            Ok((format!("revoked key {id}"), json!({ "id": id })))
        }
    }
}

fn list_keys(store: &Store) -> Answer {
    let keys = store.keys(clock::unix_now())?;
    let rows = keys.iter().map(|key| {
        vec![
            key.id.clone(),
            key.group.clone(),
            key.label.clone().unwrap_or_default(),
            format!("{}/{}", key.uses, key.max_uses),
            key.state.into(),
            time(key.expires_at),
        ]
    });
    let header = ["ID", "GROUP", "LABEL", "USES", "STATE", "EXPIRES"];
    Ok((table(&header, rows.collect()), json!(keys)))
}

pub(super) fn app(data: &DataDir, command: AppCommand) -> Answer {
    let store = open_store(data)?;
    match command {
        AppCommand::Add {
            group,
            name,
            host,
            port,
        } => {
            store.add_application(&name, &group, &host, &port, clock::unix_now())?;
            Ok((
                format!("added application {name}"),
                json!({ "application": name }),
            ))
        }
        AppCommand::List => {
            let applications = store.applications()?;
            let row = |app: &crate::store::applications::Application| {
                let ports = if app.port_first == app.port_last {
                    app.port_first.to_string()
                } else {
                    format!("{}-{}", app.port_first, app.port_last)
                };
                vec![app.name.clone(), app.group.clone(), app.host.clone(), ports]
            };
            let rows = applications.iter().map(row).collect();
            Ok((
                table(&["APPLICATION", "GROUP", "HOST", "PORT"], rows),
                json!(applications),
            ))
        }
        AppCommand::Remove { name } => {
            store.remove_application(&name, clock::unix_now())?;
            Ok((
                format!("removed application {name}"),
                json!({ "application": name }),
            ))
        }
    }
}

pub(super) fn user(data: &DataDir, command: UserCommand) -> Answer {
    let store = open_store(data)?;
    match command {
        UserCommand::Add {
            name,
            password_stdin,
            applications,
        } => {
            let password = if password_stdin {
                read_password()?
            } else {
                passwords::generate()?
            };
            let password_hash = passwords::hash(&password, passwords::COST)?;
            let user = NewUser {
                name: &name,
                password_hash,
                applications: &applications,
            };
            store.add_user(&user, clock::unix_now())?;
            if password_stdin {
                Ok((format!("added user {name}"), json!({ "name": name })))
            } else {
                // The password alone, so that a script can take it.
                Ok((
                    password.to_string(),
                    json!({ "name": name, "password": *password }),
                ))
            }
        }
        UserCommand::List => {
            let users = store.users()?;
            let row = |user: &crate::store::users::User| {
                let applications = user.applications.as_ref();
                vec![
                    user.name.clone(),
                    applications.map_or("all".into(), |names| names.join(", ")),
                ]
            };
            let rows = users.iter().map(row).collect();
            Ok((table(&["USER", "APPLICATIONS"], rows), json!(users)))
        }
        UserCommand::Remove { name } => {
            store.remove_user(&name, clock::unix_now())?;
            Ok((format!("removed user {name}"), json!({ "name": name })))
        }
    }
}

/// The first line of standard input, which is read no further than a password can be long.
fn read_password() -> Result<Zeroizing<String>, Error> {
    let mut line = Zeroizing::new(String::new());
    let longest = CREDENTIAL_MAX as u64 + 2;
    std::io::stdin()
        .lock()
        .take(longest)
        .read_line(&mut line)
        .map_err(Error::io("reading the password"))?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

pub(super) fn audit(data: &DataDir, command: &AuditCommand) -> Answer {
    let store = open_store(data)?;
    match command {
        AuditCommand::List { last } => {
            let rows = store.audit_rows(*last)?;
            let lines: Vec<_> = rows.iter().map(audit_line).collect();
            Ok((lines.join("\n"), Value::Array(rows)))
        }
        AuditCommand::Verify => {
            let verified = store.verify_audit()?;
            let (rows, head) = (verified.rows, &verified.head);
            Ok((format!("{rows} rows hold; head {head}"), json!(verified)))
        }
    }
}

/// `12 2026-11-21T02:32:25Z key_minted group=hq ..`
fn audit_line(row: &Value) -> String {
    let Some(fields) = row.as_object() else {
        return "a row that is not readable".into();
    };
    let number = |name| fields.get(name).and_then(Value::as_i64).unwrap_or(0);
    let event = fields.get("event").and_then(Value::as_str).unwrap_or("?");
    let rest = fields
        .iter()
        .filter(|(name, _)| !["seq", "at", "event"].contains(&name.as_str()));
    let rest: Vec<_> = rest
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    let line = format!(
        "{} {} {event} {}",
        number("seq"),
        time(number("at")),
        rest.join(" ")
    );
    crate::text::printable(&line)
}
