//! Control channels: greetings, incumbents, ratchet values, sessions.

use std::time::Duration;

use connector_proto::control::EdgeEvent;
use connector_proto::limits::INCUMBENT_MAX;
use connector_proto::message::{CloseCode, RatchetValue, Verdict, Welcome};
use connector_proto::time::Instant;
use edge::authorise::{Endpoint, authorise};
use edge::recognise::Incumbent;
use edge::store::greeting::{Admitted, Greeted, Greeting};
use edge::store::ratchet::Stored;

use super::{Edge, Line, wall};

/// What a small fleet is told.
const SPREAD: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(10);

impl Edge {
    pub(super) fn handle_control(&mut self, now: Instant, line: Line, event: EdgeEvent) {
        let Some(control) = self.control(line) else {
            return;
        };
        match event {
            EdgeEvent::Greeted {
                fingerprint,
                ratchet,
                ..
            } => {
                control.hello = Some((fingerprint, ratchet));
                self.greet(now, line, Incumbent::None);
            }
            EdgeEvent::Alive => {
                control.is_asked = false;
                self.resume(now, line, Incumbent::Alive);
            }
            EdgeEvent::RatchetStored { step } => self.take_ratchet_stored(line, step),
            EdgeEvent::TrustStored { digest } => {
                let id = control.id;
                self.store.trust_stored(&id, &digest).unwrap();
            }
            EdgeEvent::SessionRefused { .. } | EdgeEvent::Capacity { .. } => {}
            EdgeEvent::Closed { .. } => {
                let (id, step) = (control.id, control.step);
                self.sign_off(now, line, id, step);
            }
        }
    }

    /// Judges who greeted. `incumbent` is what another channel of the connector was found to be.
    fn greet(&mut self, now: Instant, line: Line, incumbent: Incumbent) {
        let new_value = RatchetValue(self.chance.bytes());
        let is_failing = self.is_failing;
        let Some(control) = self.control(line) else {
            return;
        };
        let Some((fingerprint, ratchet)) = control.hello else {
            return;
        };
        if is_failing {
            return control.channel.close(CloseCode::InternalError);
        }
        let (spki, id) = (control.spki, control.id);
        let there = self
            .connected
            .get(&id)
            .copied()
            .filter(|other| *other != line);
        let incumbent = match (there, incumbent) {
            (None, _) => Incumbent::None,
            (Some(_), Incumbent::Alive) => Incumbent::Alive,
            (Some(_), Incumbent::None | Incumbent::Unknown) => Incumbent::Unknown,
        };
        let greeting = Greeting {
            spki,
            fingerprint,
            ratchet,
            incumbent,
            new_value,
            version: "0.1.0",
            address: "192.0.2.1:50000",
        };
        match self.store.greet(&greeting, wall(now)).unwrap() {
            Greeted::Admitted(admitted) => {
                self.check_no_copy(&id, &ratchet);
                let values = self.held_values.entry(id).or_default();
                if values[1] == Some(ratchet.0) {
                    // Presented, and so known to be on the disk.
                    values[0] = values[1];
                }
                self.welcome(now, line, &admitted, new_value);
            }
            Greeted::AskIncumbent => self.ask(now, line, there.expect("it was unknown")),
            Greeted::Denied(denied) => self.close(line, denied.close_code()),
            Greeted::Held { verdict, .. } => {
                self.tally.held += 1;
                if let Some(control) = self.control(line) {
                    control.channel.recognise(verdict, false).unwrap();
                    control.channel.close(CloseCode::Held);
                }
                if let (Incumbent::Alive, Some(there)) = (incumbent, there) {
                    self.copies.insert((id, ratchet.0));
                    self.advance_ratchet(there);
                }
            }
        }
    }

    fn ask(&mut self, now: Instant, newcomer: Line, incumbent: Line) {
        self.touched.insert(incumbent);
        self.tally.asked += 1;
        let control = self.control(incumbent).expect("it is connected");
        control.channel.ask_alive(now, INCUMBENT_MAX).unwrap();
        control.is_asked = true;
        // The ping goes out at once.
        let _ = control.channel.handle_timeout(now);
        self.waiting.entry(incumbent).or_default().push(newcomer);
    }

    /// Goes on with those who wait for what this channel is.
    pub(super) fn resume(&mut self, now: Instant, line: Line, incumbent: Incumbent) {
        for newcomer in self.waiting.remove(&line).unwrap_or_default() {
            self.touched.insert(newcomer);
            self.greet(now, newcomer, incumbent);
        }
    }

    fn welcome(&mut self, now: Instant, line: Line, admitted: &Admitted, value: RatchetValue) {
        let id = admitted.identity.id;
        let before = self.connected.insert(id, line);
        assert_eq!(before, None, "nobody takes the place of one who is there");
        self.tally.admitted += 1;
        self.tally.reverted += u64::from(admitted.verdict == Verdict::Reverted);
        let (ca, other_ca) = (self.ca().to_vec(), self.other_ca().to_vec());
        let control = self.control(line).unwrap();
        control.step = admitted.step;
        let spki = control.spki;
        let holder = self.store.holder(&spki).unwrap();
        if let Err(denied) = authorise(Endpoint::Control, &holder.standing, wall(now)) {
            return self.close(line, denied.close_code());
        }
        let channel = &mut self.control(line).unwrap().channel;
        if admitted.verdict != Verdict::SameMachine {
            channel.recognise(admitted.verdict, true).unwrap();
        }
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap();
        channel
            .welcome(&Welcome {
                name: &admitted.identity.name,
                group: &admitted.identity.group,
                reconnect_spread_ms: millis(SPREAD),
                reconnect_cap_ms: millis(CAP),
            })
            .unwrap();
        if channel.is_established() {
            channel.trust(&ca, &other_ca).unwrap();
            channel.ratchet(admitted.step, value).unwrap();
        }
        self.held_values.entry(id).or_default()[1] = Some(value.0);
    }

    /// A machine that was found to be a copy is never taken in with the value that it presented then,
    /// unless that is one that the connector itself may hold.
    fn check_no_copy(&self, id: &[u8; 16], presented: &RatchetValue) {
        let values = self.held_values.get(id).copied().unwrap_or_default();
        let is_first = values[0].is_none() && *presented == RatchetValue::default();
        let is_own = is_first || values.contains(&Some(presented.0));
        let is_copy = self.copies.contains(&(*id, presented.0));
        assert!(is_own || !is_copy, "a copy is taken for the connector");
    }

    fn advance_ratchet(&mut self, line: Line) {
        let value = RatchetValue(self.chance.bytes());
        self.touched.insert(line);
        let Some(control) = self.control(line) else {
            return;
        };
        control.wants_ratchet = control.channel.unstored_ratchet().is_some();
        if control.wants_ratchet || !control.channel.is_established() {
            return;
        }
        let id = control.id;
        let step = self.store.advance_ratchet(&id, &value).unwrap();
        let control = self.control(line).unwrap();
        control.step = step;
        control.channel.ratchet(step, value).unwrap();
        self.held_values.entry(id).or_default()[1] = Some(value.0);
    }

    fn take_ratchet_stored(&mut self, line: Line, step: u64) {
        let id = self.control(line).unwrap().id;
        let stored = self.store.ratchet_stored(&id, step).unwrap();
        if let (Stored::Current, Some([stored, pending @ Some(_)])) =
            (stored, self.held_values.get_mut(&id))
        {
            *stored = pending.take();
        }
        match stored {
            Stored::Overtaken => self.close(line, CloseCode::Replaced),
            Stored::Current if self.control(line).unwrap().wants_ratchet => {
                self.advance_ratchet(line);
            }
            Stored::Current => {}
        }
    }

    fn close(&mut self, line: Line, code: CloseCode) {
        self.touched.insert(line);
        if let Some(control) = self.control(line) {
            control.channel.close(code);
        }
    }

    /// An administrator did something, or time passed: whoever may not be there any more is told.
    pub fn judge_again(&mut self, now: Instant) {
        for line in self.connected.values().copied().collect::<Vec<_>>() {
            let spki = self.control(line).unwrap().spki;
            let standing = self.store.holder(&spki).unwrap().standing;
            if let Err(denied) = authorise(Endpoint::Control, &standing, wall(now)) {
                self.close(line, denied.close_code());
            }
        }
    }

    /// There are other roots: every connector is told.
    pub fn roots_changed(&mut self) {
        self.roots = self.store.roots().unwrap();
        let (ca, other_ca) = (self.ca().to_vec(), self.other_ca().to_vec());
        for line in self.connected.values().copied().collect::<Vec<_>>() {
            self.touched.insert(line);
            // One that has answered for none of the last four hears of it when it connects again.
            let _ = self.control(line).unwrap().channel.trust(&ca, &other_ca);
        }
    }

    /// Offers a session to whoever is connected; the channel says who may have one.
    pub fn offer_sessions(&mut self) {
        for line in self.connected.values().copied().collect::<Vec<_>>() {
            self.touched.insert(line);
            let channel = &mut self.control(line).unwrap().channel;
            let offered = channel.open_session(b"grant");
            assert_eq!(offered.is_ok(), channel.takes_sessions());
        }
    }

    /// The control channels of each connector that stand, as the edge sees it.
    pub fn established(&self) -> impl Iterator<Item = (Line, [u8; 16])> {
        self.ends.iter().filter_map(|(line, end)| match end {
            super::End::Control(control) if control.channel.is_established() => {
                Some((*line, control.id))
            }
            _ => None,
        })
    }

    /// The edge ends without a word; its memory of who is connected with it.
    pub fn crash(&mut self) -> Vec<Line> {
        self.connected.clear();
        self.waiting.clear();
        self.touched.clear();
        self.store.set_all_disconnected().unwrap();
        std::mem::take(&mut self.ends).into_keys().collect()
    }
}
