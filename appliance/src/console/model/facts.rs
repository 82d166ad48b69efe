//! What PID 1 says, and what it waits for.

use connector_proto::local::{Awaited, Fact};

use super::super::sentence;
use super::super::text::stamp;
use super::{Action, Model, say};

/// A wait of PID 1 for something outside.
#[derive(Clone, Copy, Debug)]
pub(in crate::console) struct Wait {
    pub(super) what: Awaited,
    pub(super) since_us: u64,
    /// It left a line.
    said: bool,
    /// It, or one that it followed without anything being reached between them, left a line.
    outage_said: bool,
}

impl Model {
    /// Leaves a line for each wait that lasts. Most of those of a boot are over in a moment, and a
    /// line would send the operator looking for a fault that is not there.
    pub(super) fn say_waits(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let waits = [&mut self.network_wait, &mut self.time_wait];
        for wait in waits.into_iter().flatten() {
            if wait.line_due().is_some_and(|due_us| due_us <= now_us) {
                (wait.said, wait.outage_said) = (true, true);
                let lasted_us = now_us.saturating_sub(wait.since_us);
                actions.push(say(now_us, &sentence::waiting(wait.what, lasted_us)));
            }
        }
    }

    pub(super) fn fact(&mut self, fact: Fact, at_us: u64, actions: &mut Vec<Action>) {
        if self.is_news(&fact, at_us) {
            let text = match &fact {
                Fact::Nic { interface, mac } => sentence::nic(interface, *mac, self.minted_mac()),
                Fact::ClockOk {
                    source,
                    offset_us,
                    bound_us,
                } => {
                    let awaited = self.time_wait.map(|wait| wait.what);
                    let was_awaited = awaited == Some(Awaited::EdgeTime);
                    sentence::clock_ok(source, *offset_us, *bound_us, was_awaited)
                }
                _ => sentence::fact(&fact),
            };
            let is_first_line = matches!(fact, Fact::Booted { .. });
            let line = if is_first_line {
                text
            } else {
                stamp(at_us) + &text
            };
            actions.push(Action::Say {
                terminal: None,
                line,
            });
        }
        match fact {
            Fact::Booted { .. } | Fact::Memory { .. } | Fact::ServiceDied { .. } => {}
            // What is waited for next, PID 1 says next.
            Fact::Nic { .. } => self.nic = Some(fact),
            Fact::Minted { .. } => self.learn_minted(at_us, fact, actions),
            Fact::System { .. } => self.system = Some(fact),
            Fact::NetUp(lease) => {
                self.network_wait = None;
                self.lease = Some(lease);
            }
            Fact::Ipv6Up(config) => {
                self.network_wait = None;
                self.ipv6 = Some(config);
            }
            Fact::Settings { .. } => self.settings = Some(fact),
            Fact::ClockOk { .. } => {
                self.time_wait = None;
                self.clock = Some(fact);
            }
            Fact::Waiting {
                what,
                since_boot_us,
            } => {
                let wait = match what {
                    Awaited::Time | Awaited::EdgeTime => &mut self.time_wait,
                    Awaited::Nic | Awaited::Link | Awaited::Lease | Awaited::Router => {
                        &mut self.network_wait
                    }
                };
                *wait = Some(Wait::after(wait.as_ref(), what, since_boot_us));
            }
            Fact::Problem { text } => self.problem = Some((at_us, text)),
            Fact::ShuttingDown { restart } => {
                self.shutting_down = Some(restart);
                self.forget_typed();
            }
        }
    }

    /// A disk that appears after the NIC says only then which MAC address the NIC is to have.
    fn learn_minted(&mut self, at_us: u64, minted: Fact, actions: &mut Vec<Action>) {
        let before = self.minted_mac();
        self.minted = Some(minted);
        if let Some(Fact::Nic { interface, mac }) = &self.nic
            && self.minted_mac() != before
        {
            let text = sentence::nic(interface, *mac, self.minted_mac());
            actions.push(say(at_us, &text));
        }
    }

    /// The MAC address that the image was minted for.
    const fn minted_mac(&self) -> Option<[u8; 6]> {
        match self.minted {
            Some(Fact::Minted { mac, .. }) => mac,
            _ => None,
        }
    }

    /// Whether a fact tells the operator something that the screen does not say already. Leases are
    /// renewed and clocks measured all the time.
    fn is_news(&self, fact: &Fact, at_us: u64) -> bool {
        match fact {
            Fact::Booted { .. } | Fact::Memory { .. } | Fact::ServiceDied { .. } => true,
            Fact::Nic { .. } => {
                self.network_wait.is_some_and(|wait| wait.said) || self.nic.as_ref() != Some(fact)
            }
            Fact::NetUp(lease) => {
                self.network_wait.is_some_and(|wait| wait.outage_said)
                    || self.lease.as_ref().map(sentence::network_up)
                        != Some(sentence::network_up(lease))
            }
            Fact::Ipv6Up(config) => {
                self.network_wait.is_some_and(|wait| wait.outage_said)
                    || self.ipv6.as_ref() != Some(config)
            }
            Fact::Settings { .. } => self.settings.as_ref() != Some(fact),
            Fact::ClockOk {
                source, offset_us, ..
            } => {
                let same_source = matches!(&self.clock, Some(Fact::ClockOk { source: known, .. }) if known == source);
                self.time_wait.is_some_and(|wait| wait.outage_said)
                    || !same_source
                    || offset_us.unsigned_abs() >= CLOCK_NEWS_US
            }
            Fact::Minted { name, .. } => name.is_some() && self.minted.as_ref() != Some(fact),
            Fact::System { .. } => self.system.as_ref() != Some(fact),
            // It leaves its line when it lasts.
            Fact::Waiting { .. } => false,
            Fact::Problem { text } => self
                .problem
                .as_ref()
                .is_none_or(|(at, known)| (*at, known) != (at_us, text)),
            Fact::ShuttingDown { restart } => self.shutting_down != Some(*restart),
        }
    }
}

impl Wait {
    /// The wait that a fact tells of, when `before` is the one in force: the same or another.
    fn after(before: Option<&Self>, what: Awaited, since_us: u64) -> Self {
        let same = |wait: &Self| (wait.what, wait.since_us) == (what, since_us);
        Self {
            what,
            since_us,
            said: before.is_some_and(|wait| wait.said && same(wait)),
            outage_said: before.is_some_and(|wait| wait.outage_said),
        }
    }

    /// When it leaves its line, unless it has.
    pub(super) fn line_due(&self) -> Option<u64> {
        (!self.said).then(|| self.since_us.saturating_add(WAIT_NEWS_US))
    }
}

/// A wait that is over sooner leaves no line in the history; the live line shows it at once.
const WAIT_NEWS_US: u64 = 2_000_000;

/// A clock that moved by less, by the same source, is not worth a line.
const CLOCK_NEWS_US: u64 = 100_000;
