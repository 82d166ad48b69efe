//! What this boot is, and what may be done to the slots in it. Pure.

use std::fmt;

use disk_format::slot::SlotName;

use super::boot_state::{BootState, DEADLINE_S, DEADLINE_S_MAX, DEADLINE_S_MIN, TRIES};

/// Why the running system was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// It is the good one.
    Good,
    /// It is tried.
    Trial {
        /// How often it is tried again if this time fails.
        left: u8,
        /// Seconds of boot time until it must have been promoted.
        deadline_s: u16,
    },
    /// Another slot was to be booted and was not.
    Fallback {
        /// That slot.
        from: SlotName,
        /// It was tried as often as it may be; else the boot loader could not load it.
        tries_spent: bool,
    },
    /// The boot loader did not say which slot it booted.
    Unknown,
}

/// Says what this boot is, from the block as the boot loader left it and the slot it booted.
#[must_use]
pub fn judge(state: &BootState, running: Option<SlotName>) -> Boot {
    let Some(running) = running else {
        return Boot::Unknown;
    };
    match state.trial.filter(|trial| *trial != state.good) {
        Some(trial) if trial == running => Boot::Trial {
            left: state.left,
            deadline_s: state.deadline_s.unwrap_or(DEADLINE_S),
        },
        Some(trial) => Boot::Fallback {
            from: trial,
            tries_spent: state.left == 0,
        },
        None if state.good == running => Boot::Good,
        None => Boot::Fallback {
            from: state.good,
            tries_spent: false,
        },
    }
}

/// The block before `slot` is written to, which takes the slot out of every boot.
///
/// # Errors
/// See [`Refusal`].
pub fn before_install(
    state: &BootState,
    boot: Boot,
    running: Option<SlotName>,
    slot: SlotName,
) -> Result<BootState, Refusal> {
    let running = idle(boot, running, slot)?;
    Ok(BootState {
        // After a fallback from it, the idle slot may still be the one that is booted first.
        good: running,
        trial: None,
        left: 0,
        deadline_s: None,
        ..state.clone()
    })
}

/// The block that has `slot` tried at the next starts. The caller has checked its content.
///
/// # Errors
/// See [`Refusal`].
pub fn armed(
    state: &BootState,
    boot: Boot,
    running: Option<SlotName>,
    slot: SlotName,
    deadline_s: Option<u16>,
) -> Result<BootState, Refusal> {
    let running = idle(boot, running, slot)?;
    if let Some(seconds) = deadline_s
        && !(DEADLINE_S_MIN..=DEADLINE_S_MAX).contains(&seconds)
    {
        return Err(Refusal::Deadline { seconds });
    }
    Ok(BootState {
        good: running,
        trial: Some(slot),
        left: TRIES,
        deadline_s,
        ..state.clone()
    })
}

/// The block that makes the running trial the good slot.
///
/// # Errors
/// See [`Refusal`].
pub fn promoted(
    state: &BootState,
    boot: Boot,
    running: Option<SlotName>,
) -> Result<BootState, Refusal> {
    match (boot, running) {
        (Boot::Unknown, _) | (_, None) => Err(Refusal::Unknown),
        (Boot::Trial { .. }, Some(running)) => Ok(BootState {
            good: running,
            trial: None,
            left: 0,
            deadline_s: None,
            ..state.clone()
        }),
        (Boot::Good | Boot::Fallback { .. }, Some(running)) => Err(Refusal::NoTrial { running }),
    }
}

/// The running slot, if `slot` is the other one and may be changed.
fn idle(boot: Boot, running: Option<SlotName>, slot: SlotName) -> Result<SlotName, Refusal> {
    match (boot, running) {
        (Boot::Unknown, _) | (_, None) => Err(Refusal::Unknown),
        (_, Some(running)) if running == slot => Err(Refusal::Running { slot }),
        (Boot::Trial { .. }, Some(running)) => Err(Refusal::OnTrial { running }),
        (Boot::Good | Boot::Fallback { .. }, Some(running)) => Ok(running),
    }
}

/// Why something is not done to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The deadline is out of bounds.
    Deadline {
        /// What was asked for.
        seconds: u16,
    },
    /// The running slot is not a trial.
    NoTrial {
        /// The running slot.
        running: SlotName,
    },
    /// The running slot is a trial, and the other one is what the machine falls back to.
    OnTrial {
        /// The running slot.
        running: SlotName,
    },
    /// It is the running slot.
    Running {
        /// The slot.
        slot: SlotName,
    },
    /// The boot loader did not say which slot it booted.
    Unknown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { seconds } => write!(
                f,
                "A deadline of {seconds} s is not possible: give {DEADLINE_S_MIN} to {DEADLINE_S_MAX} s."
            ),
            Self::NoTrial { running } => {
                write!(f, "Slot {running} runs and is not on trial: nothing to promote.")
            }
            Self::OnTrial { running } => write!(
                f,
                "Slot {running} is on trial and slot {} is what the machine falls back to: wait until \
                 the trial is over.",
                running.other()
            ),
            Self::Running { slot } => write!(
                f,
                "Slot {slot} runs and is never written to: use slot {}.",
                slot.other()
            ),
            Self::Unknown => f.write_str(
                "The boot loader did not say which slot runs: start the machine from its disk first.",
            ),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use SlotName::{A, B};

    #[test]
    fn what_a_boot_is_follows_from_the_block_and_the_running_slot() {
        let trial = Boot::Trial {
            left: 2,
            deadline_s: 600,
        };
        let fallback = |from, tries_spent| Boot::Fallback { from, tries_spent };
        for (good, tried, left, running, boot) in [
            (A, None, 0, Some(A), Boot::Good),
            (B, None, 0, Some(B), Boot::Good),
            (A, Some(B), 2, Some(B), trial),
            (A, Some(B), 0, Some(A), fallback(B, true)),
            (A, Some(B), 2, Some(A), fallback(B, false)),
            (A, None, 0, Some(B), fallback(A, false)),
            (A, Some(A), 3, Some(A), Boot::Good),
            (A, Some(B), 2, None, Boot::Unknown),
        ] {
            assert_eq!(judge(&state(good, tried, left), running), boot);
        }
    }

    #[test]
    fn the_running_slot_is_never_touched() {
        let good = state(A, None, 0);
        let refusal = Err(Refusal::Running { slot: A });
        assert_eq!(before_install(&good, Boot::Good, Some(A), A), refusal);
        assert_eq!(armed(&good, Boot::Good, Some(A), A, None), refusal);
    }

    #[test]
    fn nothing_is_done_when_the_running_slot_is_unknown() {
        let good = state(A, None, 0);
        for slot in [A, B] {
            let refusal = Err(Refusal::Unknown);
            assert_eq!(before_install(&good, Boot::Unknown, None, slot), refusal);
            assert_eq!(armed(&good, Boot::Unknown, None, slot, None), refusal);
        }
        assert_eq!(promoted(&good, Boot::Unknown, None), Err(Refusal::Unknown));
    }

    #[test]
    fn a_trial_keeps_its_way_back() {
        let tried = state(A, Some(B), 2);
        let boot = judge(&tried, Some(B));
        let refusal = Err(Refusal::OnTrial { running: B });
        assert_eq!(before_install(&tried, boot, Some(B), A), refusal);
        assert_eq!(armed(&tried, boot, Some(B), A, None), refusal);
        assert_eq!(promoted(&tried, boot, Some(B)), Ok(state(B, None, 0)));
    }

    #[test]
    fn only_a_trial_is_promoted() {
        for tried in [state(A, None, 0), state(A, Some(B), 0)] {
            let boot = judge(&tried, Some(A));
            assert_eq!(
                promoted(&tried, boot, Some(A)),
                Err(Refusal::NoTrial { running: A })
            );
        }
    }

    #[test]
    fn an_installation_takes_its_slot_out_of_every_boot_first() {
        let pending = state(A, Some(B), 3);
        let boot = judge(&state(A, None, 0), Some(A));
        assert_eq!(
            before_install(&pending, boot, Some(A), B),
            Ok(state(A, None, 0))
        );
        // After a fallback from a, slot b is made the good one before a is overwritten.
        let fallen = state(A, None, 0);
        let boot = judge(&fallen, Some(B));
        assert_eq!(
            before_install(&fallen, boot, Some(B), A),
            Ok(state(B, None, 0))
        );
    }

    #[test]
    fn a_deadline_out_of_bounds_is_refused_with_the_bounds() {
        let good = state(A, None, 0);
        for seconds in [0, 9, 3601] {
            let refusal = armed(&good, Boot::Good, Some(A), B, Some(seconds)).unwrap_err();
            assert!(refusal.to_string().contains("10 to 3600"), "{refusal}");
        }
        let armed = armed(&good, Boot::Good, Some(A), B, Some(10)).unwrap();
        assert_eq!((armed.left, armed.deadline_s), (3, Some(10)));
    }

    fn state(good: SlotName, trial: Option<SlotName>, left: u8) -> BootState {
        BootState {
            good,
            trial,
            left,
            ..BootState::assumed()
        }
    }
}
