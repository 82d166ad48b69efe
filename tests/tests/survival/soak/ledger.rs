//! What happened: sessions, bytes, faults, and what nobody ordered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a fault may do to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// Not one ends by it.
    None,
    /// One does.
    One,
    /// Each may.
    All,
}

/// A fault and its time.
#[derive(Debug)]
struct Fault {
    name: &'static str,
    cuts: Cuts,
    /// Whether new sessions may be refused meanwhile.
    refuses: bool,
    began: Instant,
    ended: Option<Instant>,
}

/// Longer than what a fault did can be heard of late: time-outs of users, and of what a sender has sent and
/// nobody has confirmed.
const GRACE: Duration = Duration::from_secs(15);

#[derive(Default)]
pub struct Ledger {
    sessions: AtomicU64,
    bytes: AtomicU64,
    faults: Mutex<Vec<Fault>>,
    /// Sessions that did not end in order: when, and how.
    cut: Mutex<Vec<(Instant, String)>>,
    /// Sessions that did not begin.
    refused: Mutex<Vec<(Instant, String)>>,
    wrong: Mutex<Vec<String>>,
}

impl Ledger {
    /// A session ended in order, or was cut by order, after so many bytes both ways.
    pub fn carried(&self, bytes: u64) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A session was cut.
    pub fn cut(&self, how: String) {
        self.cut.lock().unwrap().push((Instant::now(), how));
    }

    /// A session did not begin.
    pub fn refused(&self, how: String) {
        self.refused.lock().unwrap().push((Instant::now(), how));
    }

    /// Something that must never be.
    pub fn wrong(&self, what: String) {
        eprintln!("wrong: {what}");
        self.wrong.lock().unwrap().push(what);
    }

    /// Has a fault happen.
    pub fn during(&self, name: &'static str, cuts: Cuts, refuses: bool, fault: impl FnOnce()) {
        let at = {
            let mut faults = self.faults.lock().unwrap();
            faults.push(Fault {
                name,
                cuts,
                refuses,
                began: Instant::now(),
                ended: None,
            });
            faults.len() - 1
        };
        fault();
        self.faults.lock().unwrap()[at].ended = Some(Instant::now());
    }

    /// Everything that no fault explains.
    pub fn unexplained(&self) -> Vec<String> {
        let mut found = self.wrong.lock().unwrap().clone();
        let faults = self.faults.lock().unwrap();
        let is_during = |fault: &&Fault, at: Instant| {
            fault.began <= at && fault.ended.is_none_or(|ended| at <= ended + GRACE)
        };
        let mut single: Vec<&Fault> = faults
            .iter()
            .filter(|fault| fault.cuts == Cuts::One)
            .collect();
        for (at, how) in self.cut.lock().unwrap().iter() {
            let by_all = faults
                .iter()
                .any(|fault| fault.cuts == Cuts::All && is_during(&fault, *at));
            // Each such fault explains one cut, and no more.
            let by_one = single.iter().position(|fault| is_during(fault, *at));
            match (by_all, by_one) {
                (true, _) => {}
                (false, Some(one)) => drop(single.remove(one)),
                (false, None) => found.push(format!("cut without a cause: {how}")),
            }
        }
        for (at, how) in self.refused.lock().unwrap().iter() {
            if !faults
                .iter()
                .any(|fault| fault.refuses && is_during(&fault, *at))
            {
                found.push(format!("refused without a cause: {how}"));
            }
        }
        found
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            writeln!(f, "| {name} | {value} |")
        };
        row(
            f,
            "sessions that ended in order",
            &self.sessions.load(Ordering::Relaxed),
        )?;
        row(
            f,
            "sessions cut by a fault",
            &self.cut.lock().unwrap().len(),
        )?;
        row(
            f,
            "refused during a fault",
            &self.refused.lock().unwrap().len(),
        )?;
        let mib = self.bytes.load(Ordering::Relaxed) >> 20;
        row(
            f,
            "carried and checked, byte by byte",
            &format_args!("{mib} MiB"),
        )?;
        row(f, "not explained by a fault", &self.unexplained().len())?;
        let faults = self.faults.lock().unwrap();
        row(f, "faults", &faults.len())?;
        let mut counts = BTreeMap::new();
        for fault in faults.iter() {
            *counts.entry(fault.name).or_insert(0) += 1;
        }
        for (name, count) in counts {
            row(f, &format!("- {name}"), &count)?;
        }
        Ok(())
    }
}
