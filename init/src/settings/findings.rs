//! What all places say together, and in words. Pure.

use connector_proto::local::{EngineSetting, Ipv6Setting, Settings, StaticIpv4, Text};

use super::check::is_sound;
use super::{FromSettings, Minted, Place};

/// Most places that are kept: each kind once, and some drives more.
const FOUND_MAX: usize = 8;
/// Most complaints that are kept and shown.
const COMPLAINTS_MAX: usize = 16;
/// Longest text of a fact, in bytes.
const WORDS_BYTES_MAX: usize = 120;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// In order of precedence.
    found: Vec<(Place, Settings, Minted)>,
    complaints: Vec<Text<160>>,
}

impl Findings {
    /// Notes one message of the reader. `false` when no honest reader sends it.
    #[must_use]
    pub fn add(&mut self, message: FromSettings) -> bool {
        match message {
            FromSettings::Found {
                place,
                settings,
                minted,
            } => {
                let is_taken = self.found.len() < FOUND_MAX && is_sound(&settings, &minted);
                if is_taken {
                    self.found.push((place, settings, minted));
                    // Stable: of two discs the first one stays first.
                    self.found.sort_by_key(|(place, ..)| *place);
                }
                is_taken
            }
            FromSettings::Complaint { sentence } => {
                let is_taken = self.complaints.len() < COMPLAINTS_MAX
                    && sentence.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                if is_taken {
                    self.complaints.push(sentence);
                }
                is_taken
            }
        }
    }

    /// Adds what was found earlier at places of which `self` says nothing: a reader that ended early
    /// does not take settings back.
    pub fn keep(&mut self, earlier: Self) {
        for (place, settings, minted) in earlier.found {
            if self.found.iter().all(|(held, ..)| *held != place) {
                self.found.push((place, settings, minted));
            }
        }
        self.found.sort_by_key(|(place, ..)| *place);
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let all = self.found.iter().map(|(_, settings, _)| settings.clone());
        all.fold(Settings::default(), Settings::or)
    }

    /// What is known about the machine that the image is for.
    #[must_use]
    pub fn minted(&self) -> Minted {
        let all = self.found.iter().map(|(.., minted)| minted.clone());
        all.fold(Minted::default(), Minted::or)
    }

    /// What was not understood, the first first.
    #[must_use]
    pub fn complaints(&self) -> &[Text<160>] {
        &self.complaints
    }

    /// The places that have a part in the settings in force, and those settings, in words. Nothing
    /// when there are none but the edge, which the console names when it is dialled.
    #[must_use]
    pub fn in_words(&self) -> Option<(String, String)> {
        let mut merged = Settings::default();
        let mut places: Vec<&str> = Vec::new();
        for (place, settings, _) in &self.found {
            let edge = merged.edge.clone().or_else(|| settings.edge.clone());
            let with_this = merged.clone().or(settings.clone());
            let adds_more = Settings {
                edge: None,
                ..with_this.clone()
            } != Settings {
                edge: None,
                ..merged
            };
            if adds_more && !places.contains(&place.name()) {
                places.push(place.name());
            }
            merged = Settings { edge, ..with_this };
        }
        (!places.is_empty()).then(|| (places.join(" and "), words(&merged)))
    }
}

/// The settings in words, without the edge, cut between two of them.
fn words(settings: &Settings) -> String {
    let mut words = String::new();
    for part in parts(settings) {
        let comma = if words.is_empty() { "" } else { ", " };
        if words.len() + comma.len() + part.len() + MORE.len() > WORDS_BYTES_MAX {
            words.push_str(MORE);
            break;
        }
        words.push_str(comma);
        words.push_str(&part);
    }
    words
}

fn parts(settings: &Settings) -> Vec<String> {
    let Settings {
        edge: _,
        hostname,
        vlan,
        ipv4,
        ipv6,
        resolvers,
        ntp,
        proxy,
        engine,
    } = settings;
    let mut parts = Vec::new();
    parts.extend(vlan.map(|vlan| format!("VLAN {vlan}")));
    if let Some(StaticIpv4 {
        address,
        prefix_len,
        gateway,
    }) = ipv4
    {
        parts.push(format!("address {address}/{prefix_len}"));
        parts.extend(gateway.map(|gateway| format!("gateway {gateway}")));
    }
    match ipv6 {
        None => {}
        Some(Ipv6Setting::Auto) => parts.push("IPv6 auto".to_owned()),
        Some(Ipv6Setting::Off) => parts.push("IPv6 off".to_owned()),
        Some(Ipv6Setting::Static {
            address,
            prefix_len,
            gateway,
        }) => {
            parts.push(format!("IPv6 {address}/{prefix_len}"));
            parts.extend(gateway.map(|gateway| format!("gateway {gateway}")));
        }
    }
    parts.extend(listed("DNS", resolvers));
    parts.extend(listed("NTP", ntp));
    parts.extend(proxy.as_ref().map(|proxy| format!("proxy {proxy}")));
    parts.extend(engine.map(|engine| {
        let name = match engine {
            EngineSetting::Auto => "auto",
            EngineSetting::Kernel => "kernel",
            EngineSetting::User => "user",
        };
        format!("engine {name}")
    }));
    parts.extend(hostname.as_ref().map(|name| format!("host name {name}")));
    parts
}

fn listed<T: ToString>(what: &str, list: &[T]) -> Option<String> {
    let names: Vec<_> = list.iter().map(T::to_string).collect();
    (!names.is_empty()).then(|| format!("{what} {}", names.join(" ")))
}

/// Stands for what finds no room.
const MORE: &str = " ...";

#[cfg(test)]
mod tests {
    use super::*;
    use connector_proto::local::TimeServer;

    fn found(place: Place, settings: Settings) -> FromSettings {
        FromSettings::Found {
            place,
            settings,
            minted: Minted::default(),
        }
    }

    fn vlan(vlan: u16) -> Settings {
        Settings {
            vlan: Some(vlan),
            ..Settings::default()
        }
    }

    fn with_address() -> Settings {
        Settings {
            ipv4: Some(StaticIpv4 {
                address: "192.0.2.10".parse().unwrap(),
                prefix_len: 24,
                gateway: "192.0.2.1".parse().ok(),
            }),
            ntp: [TimeServer::Address("192.0.2.1".parse().unwrap())]
                .into_iter()
                .collect(),
            edge: "edge.example".try_into().ok(),
            ..Settings::default()
        }
    }

    fn findings(messages: &[FromSettings]) -> Findings {
        let mut findings = Findings::default();
        for message in messages {
            assert!(findings.add(message.clone()));
        }
        findings
    }

    #[test]
    fn the_first_place_wins_in_whatever_order_they_are_heard_of() {
        let findings = findings(&[
            found(Place::Disk, vlan(9)),
            found(Place::FwCfg, vlan(7)),
            found(Place::Cd, with_address()),
        ]);
        let settings = findings.settings();
        assert_eq!((settings.vlan, settings.ipv4.is_some()), (Some(7), true));
        assert_eq!(
            findings.in_words(),
            Some((
                "QEMU's fw_cfg and the OVF CD".to_owned(),
                "VLAN 7, address 192.0.2.10/24, gateway 192.0.2.1, NTP 192.0.2.1".to_owned()
            ))
        );
    }

    #[test]
    fn an_edge_alone_is_not_told_here() {
        let edge = Settings {
            edge: "edge.example".try_into().ok(),
            ..Settings::default()
        };
        let findings = findings(&[found(Place::FwCfg, edge), found(Place::Disk, vlan(9))]);
        let told = findings.in_words();
        assert_eq!(told, Some(("the disk".to_owned(), "VLAN 9".to_owned())));
        assert_eq!(Findings::default().in_words(), None);
    }

    #[test]
    fn long_settings_are_cut_between_two_of_them() {
        let mut settings = with_address();
        settings.proxy = Some(Text::try_from(format!("{}:3128", "p".repeat(63)).as_str()).unwrap());
        let (_, words) = findings(&[found(Place::FwCfg, settings)])
            .in_words()
            .unwrap();
        assert_eq!(
            words,
            "address 192.0.2.10/24, gateway 192.0.2.1, NTP 192.0.2.1 ..."
        );
    }

    #[test]
    fn a_dishonest_reader_is_not_believed() {
        let mut findings = Findings::default();
        assert!(!findings.add(found(Place::FwCfg, vlan(5000))));
        let sentence = "\u{1b}[2J".try_into().unwrap();
        assert!(!findings.add(FromSettings::Complaint { sentence }));
        assert_eq!(findings, Findings::default());
        let flood = |findings: &mut Findings| findings.add(found(Place::Cd, vlan(1)));
        assert_eq!((0..100).filter(|_| flood(&mut findings)).count(), FOUND_MAX);
    }

    #[test]
    fn a_reader_that_ended_early_takes_nothing_back() {
        let mut second = findings(&[found(Place::FwCfg, vlan(7))]);
        second.keep(findings(&[
            found(Place::FwCfg, vlan(8)),
            found(Place::Cd, with_address()),
        ]));
        assert_eq!(second.settings().vlan, Some(7));
        assert!(second.settings().ipv4.is_some());
    }
}
