//! The state partition of a simulated machine: two slots, of which one is written at a time.
//!
//! What a power cut does to the bytes is shown elsewhere (`state_record.rs`); here it leaves the slot
//! as it was, as it was to be, or torn.

use connector_proto::life::Opened;
use connector_proto::local::{NoIdentity, text};
use connector_proto::record::State;

use super::chance::Chance;

/// A state partition.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    slots: [Option<Slot>; 2],
    writing: Option<Writing>,
    /// It takes nothing at the moment.
    pub is_failing: bool,
    /// The last write failed: what it was to write may be there or not.
    pub is_in_doubt: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    generation: u64,
    /// The SMBIOS UUID that it is sealed for.
    uuid: [u8; 16],
    state: State,
}

#[derive(Clone, Debug)]
enum Writing {
    Slot(Box<Slot>),
    Erasure,
}

impl Disk {
    /// What a machine with this UUID reads.
    pub fn open(&self, uuid: [u8; 16]) -> Opened {
        let readable = self.slots.iter().flatten().filter(|slot| slot.uuid == uuid);
        if let Some(slot) = readable.max_by_key(|slot| slot.generation) {
            let state = slot.state.clone();
            return Opened { state, why: None };
        }
        let foreign = self.slots.iter().flatten().next();
        Opened {
            state: State::default(),
            why: foreign.map(|slot| NoIdentity::Foreign {
                name: text(
                    slot.state
                        .identity
                        .as_ref()
                        .map_or("", |it| it.name.as_str()),
                ),
            }),
        }
    }

    /// Begins to write.
    pub fn write(&mut self, uuid: [u8; 16], state: State) {
        assert!(self.writing.is_none(), "one write at a time");
        let generation = 1 + self.newest();
        self.writing = Some(Writing::Slot(Box::new(Slot {
            generation,
            uuid,
            state,
        })));
    }

    /// Begins to erase.
    pub fn erase(&mut self) {
        assert!(self.writing.is_none(), "one write at a time");
        self.writing = Some(Writing::Erasure);
    }

    pub const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// What was begun is done, or fails; then it may be there all the same.
    pub fn finish(&mut self, chance: &mut Chance) -> Result<(), String> {
        let writing = self.writing.take();
        self.is_in_doubt = self.is_failing;
        if !self.is_failing {
            self.put(writing);
            return Ok(());
        }
        if chance.percent(50) {
            self.put(writing);
        }
        Err("the disk of the simulation fails".into())
    }

    /// The power fails.
    pub fn cut(&mut self, chance: &mut Chance) {
        let writing = self.writing.take();
        match chance.below(3) {
            0 => self.put(writing),
            1 if matches!(writing, Some(Writing::Slot(_))) => *self.older() = None,
            _ => {}
        }
    }

    fn put(&mut self, writing: Option<Writing>) {
        match writing {
            Some(Writing::Slot(slot)) => *self.older() = Some(*slot),
            Some(Writing::Erasure) => self.slots = [None, None],
            None => {}
        }
    }

    fn older(&mut self) -> &mut Option<Slot> {
        let generation = |slot: &Option<Slot>| slot.as_ref().map_or(0, |slot| slot.generation);
        let older = usize::from(generation(&self.slots[1]) < generation(&self.slots[0]));
        &mut self.slots[older]
    }

    fn newest(&self) -> u64 {
        let generations = self.slots.iter().flatten().map(|slot| slot.generation);
        generations.max().unwrap_or(0)
    }
}
