//! What goes wrong, and what people do.

use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use connector_proto::key::ProvisioningKey;
use connector_proto::life::Life;
use connector_proto::local::{FromConsole, Phase};
use connector_proto::time::{Instant, UnixSeconds};
use edge::recognise::MovedNic;
use edge::store::groups::Change;
use edge::store::keys::KeyOrder;

use super::{Tally, What, World, wall};
use crate::chance::Chance;
use crate::edge::{Edge, GROUP};
use crate::machine::Machine;

const SECOND: Duration = Duration::from_secs(1);
/// As [`World::fail`] tells it.
const NOT_VERIFIED: &str = "EdgeNotVerified";
const HOUR: Duration = Duration::from_secs(3_600);

impl World {
    /// A world in which everybody is switched on and nobody is enrolled.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let edge = Edge::new(Chance::new(chance.next()));
        let change = Change {
            certificate_life: Some(chance.pick(&[HOUR, 6 * HOUR, 24 * HOUR, 7 * 24 * HOUR])),
            moved_nic: Some(chance.pick(&[MovedNic::Hold, MovedNic::Accept])),
        };
        let start = wall(Instant::default());
        edge.store.set_group(GROUP, &change, start).unwrap();
        let count = 2 + chance.below(3);
        let machines = (0..count).map(|_| Machine::new(&mut chance)).collect();
        let mut world = Self {
            now: Instant::default(),
            chance,
            edge,
            edge_down_until: Instant::default(),
            machines,
            lines: BTreeMap::new(),
            last_line: 0,
            queue: BinaryHeap::new(),
            entries: 0,
            deleted: 0,
            roots: 1,
            is_calm: false,
            tally: Tally::default(),
        };
        for machine in 0..world.machines.len() {
            world.switch_on_in(machine, 30 * SECOND);
        }
        world.push(60 * SECOND, What::Visit);
        world.push(300 * SECOND, What::Fault);
        world.push(HOUR, What::Look);
        world
    }

    /// Nothing goes wrong any more: copies are switched off, what was broken is mended.
    pub fn calm_down(&mut self) {
        self.is_calm = true;
        self.edge.is_failing = false;
        self.edge_down_until = self.now;
        for machine in 0..self.machines.len() {
            let it = &mut self.machines[machine];
            it.disk.is_failing = false;
            it.cut_off_until = self.now;
            if !it.is_original {
                self.switch_off(machine);
            } else if it.life.is_none() {
                self.switch_on_in(machine, SECOND);
            }
        }
        for connector in self.edge.store.connectors().unwrap() {
            if connector.state == "disabled" {
                let enabled = self
                    .edge
                    .store
                    .enable_connector(&connector.id, wall(self.now));
                enabled.unwrap();
            }
        }
    }

    pub(super) fn fault(&mut self) {
        if self.is_calm {
            return;
        }
        let next = self.chance.up_to(4 * HOUR) + SECOND;
        self.push(next, What::Fault);
        let machine = usize::try_from(self.chance.below(self.machines.len() as u64)).unwrap();
        match self.chance.below(16) {
            0 | 1 => self.restart(machine),
            2 | 3 => self.cut_power(machine),
            4 => self.cut_off(machine),
            5 => self.lose_network(machine),
            6 | 7 => self.lose_edge(),
            8 => self.break_disk(machine),
            9 => self.jump_clock(machine),
            10 => self.clone_machine(machine),
            11 => self.snapshot_or_revert(machine),
            12 => self.change_hardware(machine),
            13 => self.break_edge(),
            _ => self.administer(),
        }
    }

    fn switch_on_in(&mut self, machine: usize, within: Duration) {
        let delay = self.chance.up_to(within);
        let boot = self.machines[machine].boot;
        self.push(delay, What::Start { machine, boot });
    }

    fn switch_off(&mut self, machine: usize) {
        if let Some(line) = self.machines[machine].line.take() {
            let state = self.lines.get_mut(&line).unwrap();
            (state.client, state.purpose) = (None, None);
            self.break_off(line);
        }
        let it = &mut self.machines[machine];
        it.life = None;
        it.boot += 1;
        it.disk.cut(&mut self.chance);
    }

    /// In order: the edge is told.
    fn restart(&mut self, machine: usize) {
        self.tally.restarts += 1;
        self.close(
            machine,
            Some(connector_proto::message::CloseCode::GoingAway),
        );
        self.switch_off(machine);
        self.switch_on_in(machine, 120 * SECOND);
    }

    fn cut_power(&mut self, machine: usize) {
        self.tally.power_cuts += 1;
        self.switch_off(machine);
        self.switch_on_in(machine, 8 * HOUR);
    }

    /// Packets are lost for a while. What is open breaks if that is longer than anybody waits.
    fn cut_off(&mut self, machine: usize) {
        self.tally.network_faults += 1;
        let time = self.chance.up_to(HOUR);
        self.machines[machine].cut_off_until = self.now + time;
        if let Some(line) = self.machines[machine].line
            && time > 60 * SECOND
        {
            self.break_off(line);
        }
    }

    fn lose_network(&mut self, machine: usize) {
        self.tally.network_faults += 1;
        if self.machines[machine].life.is_none() {
            return;
        }
        if let Some(line) = self.machines[machine].line {
            self.break_off(line);
        }
        self.machines[machine].has_network = false;
        self.tell_conditions(machine);
        let (boot, time) = (self.machines[machine].boot, self.chance.up_to(HOUR));
        self.push(time, What::NetworkBack { machine, boot });
    }

    /// The edge restarts, or crashes.
    fn lose_edge(&mut self) {
        self.tally.edge_outages += 1;
        let is_sudden = self.chance.percent(30);
        for line in self.edge.crash() {
            if is_sudden {
                self.break_off(line);
            } else {
                self.send(line, 1, What::EndAtMachine { line });
            }
        }
        self.edge_down_until = self.now + self.chance.up_to(HOUR);
    }

    fn break_edge(&mut self) {
        self.tally.edge_outages += 1;
        self.edge.is_failing = true;
        let time = self.chance.up_to(HOUR);
        self.push(time, What::EdgeMended);
    }

    fn break_disk(&mut self, machine: usize) {
        self.tally.disk_faults += 1;
        self.machines[machine].disk.is_failing = true;
        let time = self.chance.up_to(2 * HOUR);
        self.push(time, What::DiskMended { machine });
    }

    /// The clock is not known to be right for a while.
    fn jump_clock(&mut self, machine: usize) {
        self.tally.clock_jumps += 1;
        self.machines[machine].is_clock_right = false;
        self.tell_conditions(machine);
        let (boot, time) = (self.machines[machine].boot, self.chance.up_to(600 * SECOND));
        self.push(time, What::ClockRight { machine, boot });
    }

    /// A copy of the disk in another machine, or in one that looks the same.
    fn clone_machine(&mut self, machine: usize) {
        if self.machines.len() >= 6 {
            return;
        }
        self.tally.clones += 1;
        let mut copy = Machine::new(&mut self.chance);
        let original = &self.machines[machine];
        copy.is_original = false;
        copy.disk = original.disk.clone();
        copy.disk.cut(&mut self.chance);
        if self.chance.percent(70) {
            copy.hardware.smbios_uuid = original.hardware.smbios_uuid;
        }
        if self.chance.percent(50) {
            copy.hardware.mac = original.hardware.mac;
        }
        if self.chance.percent(50) {
            copy.hardware.vm_generation = original.hardware.vm_generation;
        }
        self.machines.push(copy);
        self.switch_on_in(self.machines.len() - 1, HOUR);
    }

    fn snapshot_or_revert(&mut self, machine: usize) {
        let Some(snapshot) = self.machines[machine].snapshot.take() else {
            self.machines[machine].snapshot = Some(self.machines[machine].disk.clone());
            return;
        };
        self.tally.reverts += 1;
        self.switch_off(machine);
        let it = &mut self.machines[machine];
        it.disk = snapshot;
        it.disk.cut(&mut self.chance);
        it.acknowledged = None;
        it.hardware.vm_generation = self.chance.bytes();
        self.switch_on_in(machine, 10 * SECOND);
    }

    /// Another network card, or another generation while it runs.
    fn change_hardware(&mut self, machine: usize) {
        self.tally.nic_changes += 1;
        if self.chance.percent(50) {
            self.switch_off(machine);
            self.machines[machine].hardware.mac = self.chance.bytes();
            self.switch_on_in(machine, 300 * SECOND);
        } else {
            self.machines[machine].hardware.vm_generation = self.chance.bytes();
            self.with_life(machine, Life::handle_generation_changed);
        }
    }

    fn administer(&mut self) {
        self.tally.administrator += 1;
        let (now, store) = (wall(self.now), &self.edge.store);
        let connectors = store.connectors().unwrap();
        if connectors.is_empty() {
            return;
        }
        let number = usize::try_from(self.chance.below(connectors.len() as u64)).unwrap();
        let id = connectors[number].id.as_str();
        match self.chance.below(8) {
            0 => drop(store.revoke_connector(id, now).unwrap()),
            1 => drop(store.disable_connector(id, now)),
            2 => drop(store.enable_connector(id, now)),
            3 => {
                store.delete_connector(id, now).unwrap();
                self.deleted += 1;
            }
            4 => {
                let name = format!("renamed-{}", self.chance.below(1_000_000));
                drop(store.rename_connector(id, &name, now));
            }
            _ => self.turn_roots(now),
        }
        self.edge.judge_again(self.now);
        self.edge.roots_changed();
        self.flush_edge();
    }

    /// The next step of the rotation of roots, unless a connector would be lost by it.
    fn turn_roots(&mut self, now: UnixSeconds) {
        let store = &self.edge.store;
        if self.edge.roots.len() == 1 {
            self.roots += 1;
            store.add_next_root(&[self.roots; 40], now).unwrap();
        } else if store.use_next_root(false, now).is_err() {
            let _ = store.retire_root(false, now);
        }
    }

    /// A person looks at a console, and at what the administrator sees.
    pub(super) fn visit(&mut self) {
        let pause = if self.is_calm {
            300 * SECOND
        } else {
            3_600 * SECOND
        };
        let next = self.chance.between(60 * SECOND, pause);
        self.push(next, What::Visit);
        for machine in 0..self.machines.len() {
            let it = &self.machines[machine];
            let is_ready = self.is_calm || self.chance.percent(50);
            if let (true, Some(life)) = (is_ready, &it.life) {
                match life.phase(self.now) {
                    Phase::NeedKey { .. } => self.type_key(machine),
                    Phase::Held { .. } => self.deal_with_held(machine),
                    // Its trust anchors are gone, or somebody is in between: it says so, and that
                    // a factory reset and a key help.
                    Phase::Connecting { last_error, .. }
                        if last_error.as_str() == NOT_VERIFIED && self.is_calm =>
                    {
                        self.reset(machine);
                    }
                    _ if !self.is_calm && self.chance.percent(1) => self.reset(machine),
                    _ => {}
                }
            }
        }
        self.check_uses();
    }

    fn deal_with_held(&mut self, machine: usize) {
        let it = &self.machines[machine];
        let identity = it.life.as_ref().unwrap().state().identity.clone();
        if it.is_original && self.chance.percent(50) {
            let id: String = identity
                .unwrap()
                .connector_id
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            // It may have been confirmed a moment ago.
            let confirmed = self.edge.store.confirm_connector(&id, wall(self.now));
            if confirmed.is_ok() {
                self.edge.copies.clear();
            }
        } else {
            self.type_key(machine);
        }
    }

    fn type_key(&mut self, machine: usize) {
        let now = wall(self.now);
        let order = KeyOrder {
            group: GROUP,
            max_uses: 1,
            expires_at: UnixSeconds(now.0 + 86_400),
            label: Some("fleet"),
        };
        let mut key = self.edge.store.mint_key(&order, now).unwrap().key;
        if self.chance.percent(5) && !self.is_calm {
            // A key of another edge.
            key = ProvisioningKey::from_random(self.chance.bytes());
        }
        let typed = FromConsole::Key(*key.data());
        self.with_life(machine, |life, now| {
            life.handle_operator(now, &typed).unwrap()
        });
    }

    fn reset(&mut self, machine: usize) {
        self.machines[machine].acknowledged = None;
        self.with_life(machine, |life, now| {
            life.handle_operator(now, &FromConsole::FactoryReset)
                .unwrap();
        });
    }
}
