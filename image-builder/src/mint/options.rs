//! The command line of `cargo image mint`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::mint::ledger_file;
use crate::mint::plan::Request;
use crate::mint::settings::NetworkSettings;

/// How it is used.
pub const USAGE: &str = "\
usage: cargo image mint --name NAME [options]
         mint one connector per name: NAME.ova, NAME.qcow2, NAME.xml (libvirt), NAME.txt (how to
         deploy it), with the MAC address pinned
           --name      the connector's name, like mumbai-01
           --count     mint so many: mumbai-01, mumbai-02, ...            [1]
           --group     its connector group, for people
           --mac       its MAC address, 00:50:56:00:00:00 to 00:50:56:3f:ff:ff  [from the name]
           --edge      the service edge it connects to, HOST[:PORT]
           --hostname  its host name
           --address   its static IPv4 address, like 192.0.2.10/24                 [DHCP]
           --gateway   its default gateway, with --address
           --resolvers DNS servers, up to four addresses, commas between   [the network's]
           --ntp       NTP servers, up to four names or addresses          [the network's]
           --ipv6      auto, off, or a static address like 2001:db8::10/64         [auto]
           --gateway6  its default gateway of IPv6, with a static --ipv6
           --vlan      the VLAN whose tag all frames carry, 1 to 4094         [untagged]
           --proxy     an HTTP proxy through which the edge is reached, HOST:PORT
           --engine    auto, kernel or user: what carries sessions                [auto]
           --from      the image to mint from                 [target/image/outgate.ova]
           --out       where the files go                     [target/mint]
           --ledger    what keeps names and MACs unique  [~/.local/share/outgate/mint.ledger]
           --sign-key, --sign-cert
                       sign the OVA with this RSA key and its X.509 certificate, both PEM
       The same name again gives the same files again.
";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which connectors.
    pub request: Request,
    /// The OVA to mint from.
    pub from: PathBuf,
    /// Where the files go.
    pub out: PathBuf,
    /// The ledger.
    pub ledger: PathBuf,
    /// Files of a private key and its certificate, to sign with.
    pub sign: Option<(PathBuf, PathBuf)>,
}

/// Reads the arguments behind `mint`. Nothing when the usage was asked for.
///
/// # Errors
/// A sentence for people: an unknown option, a missing or a wrong value.
pub fn parse(arguments: &[OsString]) -> Result<Option<Options>, String> {
    let mut given = Given::default();
    let mut arguments = arguments.iter();
    while let Some(option) = arguments.next() {
        if option == "--help" || option == "-h" {
            return Ok(None);
        }
        let place = given.place(option)?;
        let value = arguments
            .next()
            .ok_or_else(|| format!("{} needs a value", option.display()))?;
        if place.replace(value.clone()).is_some() {
            return Err(format!("{} is given twice", option.display()));
        }
    }
    given.options().map(Some)
}

/// The values as they were given.
#[derive(Debug, Default)]
struct Given {
    name: Option<OsString>,
    count: Option<OsString>,
    group: Option<OsString>,
    mac: Option<OsString>,
    edge: Option<OsString>,
    /// In the order of [`NetworkSettings::properties`].
    network: Vec<Option<OsString>>,
    from: Option<OsString>,
    out: Option<OsString>,
    ledger: Option<OsString>,
    sign_key: Option<OsString>,
    sign_cert: Option<OsString>,
}

impl Given {
    fn place(&mut self, option: &OsStr) -> Result<&mut Option<OsString>, String> {
        match option.to_str() {
            Some("--name") => Ok(&mut self.name),
            Some("--count") => Ok(&mut self.count),
            Some("--group") => Ok(&mut self.group),
            Some("--mac") => Ok(&mut self.mac),
            Some("--edge") => Ok(&mut self.edge),
            Some("--from") => Ok(&mut self.from),
            Some("--out") => Ok(&mut self.out),
            Some("--ledger") => Ok(&mut self.ledger),
            Some("--sign-key") => Ok(&mut self.sign_key),
            Some("--sign-cert") => Ok(&mut self.sign_cert),
            Some(text) => self
                .setting(text)
                .ok_or_else(|| format!("{text} is no option of mint")),
            None => Err(format!("{} is no option of mint", option.display())),
        }
    }

    fn setting(&mut self, option: &str) -> Option<&mut Option<OsString>> {
        let key = option.strip_prefix("--")?;
        let mut properties = NetworkSettings::properties();
        let index = properties.position(|property| property.key_in_class() == key)?;
        if self.network.len() <= index {
            self.network.resize(index + 1, None);
        }
        self.network.get_mut(index)
    }

    fn options(self) -> Result<Options, String> {
        let path = |given: Option<OsString>, default: &str| {
            given.map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        Ok(Options {
            request: Request {
                name: value("--name", self.name)?.ok_or("--name is missing")?,
                count: value("--count", self.count)?.unwrap_or(1),
                group: value("--group", self.group)?,
                mac: value("--mac", self.mac)?,
                edge: value("--edge", self.edge)?,
                network: network(self.network)?,
            },
            from: path(self.from, "target/image/outgate.ova"),
            out: path(self.out, "target/mint"),
            ledger: match self.ledger {
                Some(path) => path.into(),
                None => ledger_file::default_path().map_err(|error| error.to_string())?,
            },
            sign: match (self.sign_key, self.sign_cert) {
                (Some(key), Some(certificate)) => Some((key.into(), certificate.into())),
                (None, None) => None,
                (Some(_), None) => return Err("--sign-key needs --sign-cert beside it".into()),
                (None, Some(_)) => return Err("--sign-cert needs --sign-key beside it".into()),
            },
        })
    }
}

fn network(given: Vec<Option<OsString>>) -> Result<NetworkSettings, String> {
    let mut network = NetworkSettings::default();
    for (property, given) in NetworkSettings::properties().zip(given) {
        let option = format!("--{}", property.key_in_class());
        if let Some(text) = value::<String>(&option, given)? {
            network
                .set(property, &text)
                .map_err(|error| format!("{option} {error}"))?;
        }
    }
    Ok(network)
}

fn value<T: FromStr<Err: fmt::Display>>(
    option: &str,
    given: Option<OsString>,
) -> Result<Option<T>, String> {
    let Some(given) = given else {
        return Ok(None);
    };
    let text = given
        .to_str()
        .ok_or_else(|| format!("{option} {}: this is no UTF-8 text", given.display()))?;
    text.parse()
        .map(Some)
        .map_err(|error| format!("{option} {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough_and_everything_can_be_given() {
        let least = of(&["--name", "mumbai-01", "--ledger", "l"]).unwrap();
        assert_eq!(least.request.count, 1);
        assert_eq!(least.from.to_str(), Some("target/image/outgate.ova"));
        assert_eq!(least.out.to_str(), Some("target/mint"));
        let most = of(&[
            "--name",
            "mumbai-01",
            "--count",
            "3",
            "--group",
            "Mumbai West",
            "--edge",
            "edge.example.org",
            "--ntp",
            "192.0.2.1, ntp.example.org",
            "--vlan",
            "7",
            "--from",
            "f",
            "--out",
            "o",
            "--ledger",
            "l",
            "--sign-key",
            "k",
            "--sign-cert",
            "c",
        ])
        .unwrap();
        assert_eq!(most.request.count, 3);
        assert_eq!(most.request.group.unwrap().as_str(), "Mumbai West");
        assert_eq!(most.request.edge.unwrap().port(), 443);
        let network = most.request.network.iter();
        let network: Vec<_> = network.map(|(_, value)| value.to_string()).collect();
        assert_eq!(network, ["192.0.2.1,ntp.example.org", "7"]);
        assert_eq!(most.sign, Some(("k".into(), "c".into())));
    }

    #[test]
    fn each_mistake_is_named() {
        for (arguments, needle) in [
            (&[][..], "--name is missing"),
            (&["--name"], "--name needs a value"),
            (&["--name", "Mumbai"], "mumbai-01"),
            (&["--name", "a", "--name", "b"], "twice"),
            (&["--name", "a", "--count", "many"], "--count"),
            (&["--name", "a", "--mac", "0050560a0b0c"], "six pairs"),
            (&["--name", "a", "--edge", "edge:0"], "TCP port"),
            (&["--name", "a", "--group", ""], "1 to 63"),
            (&["--name", "a", "--vlan", "4095"], "from 1 to 4094"),
            (&["--name", "a", "--address", ""], "--address is empty"),
            (&["--name", "a", "--vlan", "7", "--vlan", "7"], "twice"),
            (
                &["--name", "a", "--proxy", "asha:secret@p:1"],
                "do not belong here",
            ),
            (&["--name", "a", "--sign-key", "k"], "needs --sign-cert"),
            (&["--name", "a", "--sign-cert", "c"], "needs --sign-key"),
            (&["--memory", "512"], "no option"),
        ] {
            let said = of(arguments).unwrap_err();
            assert!(said.contains(needle), "{said}");
        }
    }

    #[test]
    fn the_usage_names_every_option() {
        let mut given = Given::default();
        let options = USAGE
            .split([' ', ',', '\n'])
            .filter(|word| word.starts_with("--"));
        let named: std::collections::BTreeSet<_> = options.collect();
        assert_eq!(named.len(), 10 + NetworkSettings::properties().count());
        assert!(
            named
                .iter()
                .all(|option| given.place(OsStr::new(option)).is_ok())
        );
        assert_eq!(parse(&["--help".into()]), Ok(None));
    }

    fn of(arguments: &[&str]) -> Result<Options, String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        parse(&arguments).map(|options| options.expect("no help was asked for"))
    }
}
