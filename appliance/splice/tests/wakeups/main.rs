//! How threads wake each other, step by step, in every order that there is.
//!
//! A model is a state and what each thread may do next in it: one access to what is shared, or all that is
//! done under one lock. Every state that can be reached is visited; one in which nobody can do anything is
//! an end, and a way back to a state is work without end.
//!
//! - [`queue`]: how the thread of a data plane is told something (`src/plane/queue.rs`).
//! - [`mailbox`]: how those threads tell the connector's loop (`appliance/src/mailbox.rs`).

mod mailbox;
mod queue;

use std::collections::BTreeMap;

/// A state of everything.
trait Model: Clone + Ord {
    /// What it can become, by one step of one thread.
    fn steps(&self) -> Vec<Self>;
}

/// The ends that can be reached; `None` if there is work without end.
fn ends<M: Model>(start: M) -> Option<Vec<M>> {
    let mut numbers = BTreeMap::from([(start.clone(), 0)]);
    let mut states = vec![start];
    let mut ways: Vec<Vec<usize>> = Vec::new();
    while let Some(state) = states.get(ways.len()) {
        let mut to = Vec::new();
        for next in state.clone().steps() {
            let new = states.len();
            let number = *numbers.entry(next.clone()).or_insert(new);
            if number == new {
                states.push(next);
            }
            to.push(number);
        }
        ways.push(to);
    }
    let ends = states
        .into_iter()
        .zip(&ways)
        .filter(|(_, to)| to.is_empty());
    is_finite(&ways).then(|| ends.map(|(end, _)| end).collect())
}

/// Whether no way leads back: then states can be taken away until none is left, each when none leads to it
/// any more.
fn is_finite(ways: &[Vec<usize>]) -> bool {
    let mut leading = vec![0; ways.len()];
    for &to in ways.iter().flatten() {
        leading[to] += 1;
    }
    let mut free: Vec<usize> = (0..ways.len())
        .filter(|&state| leading[state] == 0)
        .collect();
    let mut taken = 0;
    while let Some(state) = free.pop() {
        taken += 1;
        for &to in &ways[state] {
            leading[to] -= 1;
            if leading[to] == 0 {
                free.push(to);
            }
        }
    }
    taken == ways.len()
}

/// Counts down, then up again, for ever or once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Counting {
    left: u8,
    is_endless: bool,
}

impl Model for Counting {
    fn steps(&self) -> Vec<Self> {
        let left = match (self.left, self.is_endless) {
            (0, false) => return Vec::new(),
            (0, true) => 3,
            (left, _) => left - 1,
        };
        vec![Self { left, ..*self }]
    }
}

#[test]
fn an_end_is_found_and_so_is_its_absence() {
    let counting = |is_endless| Counting {
        left: 3,
        is_endless,
    };
    let found = ends(counting(false)).map(|ends| ends.iter().map(|end| end.left).collect());
    assert_eq!(found, Some(vec![0]));
    assert!(ends(counting(true)).is_none());
}
