//! What holds at every moment, and in the end.

use std::collections::BTreeSet;

use connector_proto::local::Phase;

use super::World;

impl World {
    /// After every step.
    pub(super) fn check(&mut self) {
        self.check_holders();
        self.check_patience();
        self.forget_lines();
    }

    /// Each identity has one holder at most.
    fn check_holders(&self) {
        let mut holders = BTreeSet::new();
        for (line, id) in self.edge.established() {
            assert!(
                holders.insert(id),
                "two machines hold the identity of {id:02x?}"
            );
            assert_eq!(
                self.edge.connected.get(&id),
                Some(&line),
                "the edge lost sight of one"
            );
        }
    }

    /// Who does not wait for a person, the network or the time has something to do.
    fn check_patience(&self) {
        for it in &self.machines {
            let Some(life) = &it.life else { continue };
            let waits = matches!(
                life.phase(self.now),
                Phase::NeedEdge | Phase::NeedKey { .. }
            );
            let is_hindered = !it.has_network || !it.is_clock_right;
            let is_busy = it.line.is_some() || it.disk.is_writing();
            let has_timeout = life.poll_timeout().is_some();
            assert!(
                waits || is_hindered || is_busy || has_timeout,
                "a machine has given up"
            );
        }
    }

    /// A session is offered to a machine that the edge let in and that keeps what it was given.
    pub(super) fn check_session(&mut self, machine: usize) {
        self.tally.sessions += 1;
        let it = &self.machines[machine];
        let life = it.life.as_ref().unwrap();
        assert!(
            life.takes_sessions(),
            "a session is offered before the ratchet value is stored"
        );
        let kept = it.disk.open(it.hardware.smbios_uuid).state.ratchet;
        assert!(
            it.disk.is_in_doubt || kept.0 == life.state().ratchet.0,
            "the ratchet value is on the disk"
        );
    }

    /// Each use of a key is one connector, and each connector one use.
    pub fn check_uses(&self) {
        let keys = self.edge.store.keys(super::wall(self.now)).unwrap();
        let uses: u64 = keys.iter().map(|key| u64::from(key.uses)).sum();
        let connectors = self.edge.store.connectors().unwrap().len();
        assert_eq!(uses, self.edge.tally.enrolments, "a use for each enrolment");
        assert_eq!(
            uses,
            connectors as u64 + self.deleted,
            "a connector for each use"
        );
    }

    /// Whether every machine that is not a copy is connected.
    pub fn is_at_rest(&self) -> bool {
        let mut originals = self.machines.iter().filter(|it| it.is_original);
        originals.all(super::Machine::is_connected)
    }

    /// Every machine that is not a copy is connected.
    pub fn check_connected(&self) {
        for (number, it) in self.machines.iter().enumerate() {
            if !it.is_original {
                continue;
            }
            let life = it.life.as_ref().expect("it is on");
            let phase = life.phase(self.now);
            assert!(
                it.is_connected(),
                "machine {number} is not connected: {phase:?}"
            );
            let id = life.state().identity.as_ref().unwrap().connector_id;
            assert!(
                self.edge.connected.contains_key(&id),
                "machine {number} is not at the edge"
            );
        }
    }

    /// Connections that both ends have left.
    fn forget_lines(&mut self) {
        if self.lines.len() > 64 {
            let edge = &self.edge;
            self.lines.retain(|line, state| {
                state.client.is_some() || state.purpose.is_some() || edge.has_end(*line)
            });
        }
    }
}
