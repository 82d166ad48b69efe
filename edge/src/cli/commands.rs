//! The words of the command line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::recognise::MovedNic;
use crate::store::keys::{KEY_LIFE_MAX, KEY_USES_MAX};
use crate::text::parse_duration;

/// The reference service edge of Outgate.
#[derive(Debug, Parser)]
#[command(name = "edge", version, propagate_version = true)]
pub(super) struct Cli {
    /// The edge's data directory.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/var/lib/outgate-edge"
    )]
    pub(super) data: PathBuf,
    /// Print one JSON value instead of text; times are unix seconds.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What is to carry the sessions' bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineChoice {
    /// Whichever is quicker here, which is measured at the start.
    Auto,
    /// The kernel's TLS and splice, where the kernel takes the keys.
    Kernel,
    /// This process.
    User,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new edge: keys, certificate authority, empty store.
    Init {
        /// A name or address that connectors dial; repeat it for more.
        #[arg(long = "name", required = true)]
        names: Vec<String>,
    },
    /// Serve connectors and users until SIGTERM or SIGINT.
    Serve {
        /// Where connectors dial in; port 0 picks a free one.
        #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:443")]
        listen: SocketAddr,
        /// Where users dial in; port 0 picks a free one.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
        proxy: SocketAddr,
        /// What carries the sessions' bytes: the kernel's TLS, this process, or whichever is quicker here.
        #[arg(long, value_name = "ENGINE", value_enum, default_value_t = EngineChoice::Auto)]
        engine: EngineChoice,
    },
    /// Connector groups.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Provisioning keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Applications.
    #[command(subcommand)]
    App(AppCommand),
    /// Users of the proxy.
    #[command(subcommand)]
    User(UserCommand),
    /// Enrolled connectors.
    #[command(subcommand)]
    Connector(ConnectorCommand),
    /// The CA certificates that connectors trust.
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// Copy the whole data directory, keys included, while the edge goes on. To restore it, use the
    /// copy as --data.
    Backup {
        /// A directory that is new or empty.
        to: PathBuf,
    },
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Add a group.
    Add { name: String },
    /// List all groups.
    List,
    /// Change what holds for a group's connectors.
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
    Set {
        name: String,
        /// How long a certificate holds: 60s to 7d. Connectors renew at two thirds of it.
        #[arg(long, value_name = "TIME", value_parser = parse_duration, group = "change")]
        certificate_life: Option<Duration>,
        /// What becomes of a machine with another MAC address: it waits for `connector confirm`, or it
        /// is taken in.
        #[arg(long, value_name = "hold|accept", value_parser = moved_nic, group = "change")]
        moved_nic: Option<MovedNic>,
    },
    /// Show one group.
    Show { name: String },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Mint a key and print it, once.
    Mint {
        /// The group it enrols into.
        #[arg(long)]
        group: String,
        /// How many connectors it enrols.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(KEY_USES_MAX)))]
        max_uses: u32,
        /// How long it can be used: a number and s, m, h or d.
        #[arg(long, default_value = "24h", value_parser = key_life)]
        expires: Duration,
        /// Names the connectors it enrols.
        #[arg(long)]
        label: Option<String>,
    },
    /// List all keys; their text is not kept.
    List,
    /// Revoke a key; connectors it enrolled stay.
    Revoke {
        /// Lookup id, or its start.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    /// Add an application.
    Add {
        /// The group whose connectors reach it.
        #[arg(long)]
        group: String,
        /// Its name here.
        #[arg(long)]
        name: String,
        /// Host name or address as users ask for it and connectors resolve it.
        #[arg(long)]
        host: String,
        /// Port, or range of ports like 8000-8010.
        #[arg(long, value_parser = ports)]
        port: RangeInclusive<u16>,
    },
    /// List all applications.
    List,
    /// Remove an application.
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user. Without --password-stdin a password is made and printed, once.
    Add {
        name: String,
        /// Take the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
        /// Let the user reach this application only; repeat it for more.
        #[arg(long = "app", value_name = "NAME")]
        applications: Vec<String>,
    },
    /// List all users.
    List,
    /// Remove a user.
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConnectorCommand {
    /// List all connectors.
    List,
    /// Show all about a connector: its machine, its certificates, the machine that is held.
    Show {
        /// Name or id, or the start of the id.
        connector: String,
    },
    /// Take the machine that was held last for the connector.
    Confirm {
        /// Name or id, or the start of the id.
        connector: String,
    },
    /// Keep a connector out until it is enabled; an edge that runs closes its tunnel within two seconds.
    Disable {
        /// Name or id, or the start of the id.
        connector: String,
    },
    /// Let a disabled connector in again.
    Enable {
        /// Name or id, or the start of the id.
        connector: String,
    },
    /// Forget a connector. Its certificates are refused from then on; its audit entries stay.
    Delete {
        /// Name or id, or the start of the id.
        connector: String,
    },
    /// Revoke a connector for good; an edge that runs closes its tunnel within two seconds.
    Revoke {
        /// Name or id, or the start of the id.
        connector: String,
    },
    /// Give a connector another name.
    Rename {
        /// Name or id, or the start of the id.
        connector: String,
        /// The new name.
        new_name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AuthorityCommand {
    /// List the CA certificates, and which connectors the next step waits for.
    List,
    /// Make the next CA. Connectors store it beside the one in use as soon as they are connected.
    Rotate,
    /// Let the next CA issue from here on.
    UseNext {
        /// Also if connectors have not stored it; they need a key again.
        #[arg(long)]
        force: bool,
    },
    /// Drop the CA before. What it issued is refused from then on.
    Retire {
        /// Also if connectors have no certificate of the other one; they need a key again.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show the last entries, oldest first.
    List {
        /// How many.
        #[arg(long, default_value_t = 50)]
        last: u32,
    },
    /// Check the whole chain and print its head, to be noted elsewhere.
    Verify,
}

fn key_life(text: &str) -> Result<Duration, String> {
    let life = parse_duration(text)?;
    if life.is_zero() || life > KEY_LIFE_MAX {
        let days = KEY_LIFE_MAX.as_secs() / 86_400;
        return Err(format!("a key can be used for 1s to {days}d"));
    }
    Ok(life)
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first > 0 && first <= last => Ok(first..=last),
        _ => Err(format!(
            "{text:?} is not a port from 1 to 65535 or a range like 8000-8010"
        )),
    }
}

fn moved_nic(text: &str) -> Result<MovedNic, String> {
    match text {
        "accept" => Ok(MovedNic::Accept),
        "hold" => Ok(MovedNic::Hold),
        _ => Err(format!("{text:?} is neither hold nor accept")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_key_lives_between_a_second_and_a_year() {
        assert_eq!(key_life("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert!(key_life("0s").is_err() && key_life("366d").is_err());
    }

    #[test]
    fn ports_are_one_or_a_rising_range() {
        assert_eq!(ports("80"), Ok(80..=80));
        assert_eq!(ports("8000-8010"), Ok(8000..=8010));
        for wrong in ["", "0", "80-", "90-80", "65536", "http"] {
            assert!(ports(wrong).is_err(), "{wrong:?}");
        }
    }
}
