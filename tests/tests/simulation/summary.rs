//! What happened in all the worlds together.

use std::fmt;

use super::world::World;

/// Counts by name, in the order in which they are told.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    worlds: u64,
    counts: Vec<(&'static str, u64)>,
}

impl Summary {
    pub fn with(mut self, world: &World) -> Self {
        self.add(world);
        self
    }

    pub fn add(&mut self, world: &World) {
        self.worlds += 1;
        let (world, edge) = (&world.tally, &world.edge.tally);
        let counts = [
            ("events", world.steps),
            ("connections", world.connections),
            ("restarts", world.restarts),
            ("power cuts", world.power_cuts),
            ("network faults", world.network_faults),
            ("edge outages", world.edge_outages),
            ("disk faults", world.disk_faults),
            ("clock jumps", world.clock_jumps),
            ("clones", world.clones),
            ("reverts to a snapshot", world.reverts),
            ("changes of hardware", world.nic_changes),
            ("acts of administrators", world.administrator),
            ("enrolments", edge.enrolments),
            ("renewals", edge.renewals),
            ("admitted", edge.admitted),
            ("admitted as reverted", edge.reverted),
            ("incumbents asked", edge.asked),
            ("held", edge.held),
            ("sessions offered", world.sessions),
        ];
        for (at, (name, count)) in counts.into_iter().enumerate() {
            match self.counts.get_mut(at) {
                Some((_, sum)) => *sum += count,
                None => self.counts.push((name, count)),
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>12}", "worlds of 24 hours", self.worlds)?;
        for (name, count) in &self.counts {
            writeln!(f, "{name:<24} {count:>12}")?;
        }
        Ok(())
    }
}
