//! The decisions, as a table: what is made of a claim about the time.
//!
//! Nothing here knows a clock or a server. `docs/TIME.md` shows every row; a test keeps it so.

/// What the clock is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nobody has confirmed it.
    Provisional,
    /// NTP or the edge has.
    Right,
}

/// What somebody says about the clock, by how far it would move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Before the floor or after the ceiling: it cannot be.
    Impossible,
    /// So little that the clock is slewed: below [`super::RIGHT_WITHIN`] while it is provisional, up to
    /// [`super::SLEWED_WITHIN`] and the claim's own bound once it is right.
    Near,
    /// More, and no more than [`super::AGREED_WITHIN`] and the bound.
    Off,
    /// More than that.
    Far,
}

/// What is known of NTP when the edge has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ntp {
    /// Nothing, or nothing new.
    Silent,
    /// The clock goes by it.
    Followed,
    /// It wants a step, which is held; it agrees with the edge.
    HeldAgreeing,
    /// It wants a step, which is held; the edge says something else.
    HeldContradicted,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing but an alarm: who says that is wrong.
    Refuse,
    /// The clock is slewed by the claim.
    Slew,
    /// The clock is stepped by the claim.
    Step,
    /// An alarm, and the edge is asked.
    Hold,
    /// Nothing: the edge has contradicted it.
    Ignore,
    /// Nothing: the clock goes by NTP, with which the edge agrees.
    Keep,
    /// As [`Self::Keep`], and NTP is asked again.
    KeepAndResync,
    /// The clock is stepped by the claim that was held.
    StepByHeld,
    /// The clock is slewed by the edge's claim, with an alarm that NTP disagrees.
    SlewAgainstNtp,
    /// The clock is stepped by the edge's claim, with an alarm that NTP disagrees.
    StepAgainstNtp,
}

/// What is made of what most NTP servers say. `is_contradicted`: the edge has been asked about this
/// claim and says something else.
#[must_use]
pub const fn of_ntp(trust: Trust, claim: Claim, is_contradicted: bool) -> Verdict {
    match (trust, claim) {
        (_, Claim::Impossible) => Verdict::Refuse,
        (_, Claim::Near) => Verdict::Slew,
        (Trust::Provisional, Claim::Off | Claim::Far) => Verdict::Step,
        (Trust::Right, Claim::Off | Claim::Far) if is_contradicted => Verdict::Ignore,
        (Trust::Right, Claim::Off | Claim::Far) => Verdict::Hold,
    }
}

/// What is made of what the edge says.
#[must_use]
pub const fn of_edge(trust: Trust, claim: Claim, ntp: Ntp) -> Verdict {
    match (trust, claim, ntp) {
        (_, Claim::Impossible, _) => Verdict::Refuse,
        (Trust::Provisional, Claim::Near, _) => Verdict::Slew,
        (Trust::Provisional, Claim::Off | Claim::Far, _) => Verdict::Step,
        (Trust::Right, _, Ntp::HeldAgreeing) => Verdict::StepByHeld,
        (Trust::Right, Claim::Near, Ntp::HeldContradicted) => Verdict::SlewAgainstNtp,
        (Trust::Right, Claim::Off | Claim::Far, Ntp::HeldContradicted) => Verdict::StepAgainstNtp,
        (Trust::Right, Claim::Near, Ntp::Followed) => Verdict::Keep,
        (Trust::Right, Claim::Off, Ntp::Followed) => Verdict::KeepAndResync,
        (Trust::Right, Claim::Near, Ntp::Silent) => Verdict::Slew,
        (Trust::Right, Claim::Off, Ntp::Silent) => Verdict::Step,
        (Trust::Right, Claim::Far, Ntp::Silent | Ntp::Followed) => Verdict::Step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/TIME.md");

    #[test]
    fn the_page_shows_every_decision_as_the_code_takes_it() {
        let mut missing = Vec::new();
        for row in rows() {
            if !PAGE.lines().any(|line| line == row) {
                missing.push(row);
            }
        }
        let shown = PAGE
            .lines()
            .filter(|line| line.starts_with("| NTP | ") || line.starts_with("| edge | "));
        assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
        assert_eq!(shown.count(), rows().len(), "rows that no decision has");
    }

    fn rows() -> Vec<String> {
        let mut rows = Vec::new();
        for trust in [Trust::Provisional, Trust::Right] {
            for claim in CLAIMS {
                let others = [
                    ("the edge has not spoken of it", of_ntp(trust, claim, false)),
                    ("the edge contradicted it", of_ntp(trust, claim, true)),
                ];
                rows.extend(group("NTP", trust, claim, &others));
            }
        }
        for trust in [Trust::Provisional, Trust::Right] {
            for claim in CLAIMS {
                let others = [
                    (Ntp::Silent, "NTP is silent"),
                    (Ntp::Followed, "NTP is followed"),
                    (Ntp::HeldAgreeing, "NTP is held and agrees"),
                    (Ntp::HeldContradicted, "NTP is held and disagrees"),
                ]
                .map(|(ntp, other)| (other, of_edge(trust, claim, ntp)));
                rows.extend(group("edge", trust, claim, &others));
            }
        }
        rows
    }

    /// One row where it does not matter what else is known, else a row for each.
    fn group(who: &str, trust: Trust, claim: Claim, others: &[(&str, Verdict)]) -> Vec<String> {
        let (_, first) = others[0];
        if others.iter().all(|(_, verdict)| *verdict == first) {
            return vec![row(who, trust, claim, "whatever else", first)];
        }
        let rows = others.iter();
        rows.map(|(other, verdict)| row(who, trust, claim, other, *verdict))
            .collect()
    }

    const CLAIMS: [Claim; 4] = [Claim::Impossible, Claim::Near, Claim::Off, Claim::Far];

    fn row(who: &str, trust: Trust, claim: Claim, other: &str, verdict: Verdict) -> String {
        let clock = match trust {
            Trust::Provisional => "provisional",
            Trust::Right => "right",
        };
        let claim = match claim {
            Claim::Impossible => "impossible",
            Claim::Near => "near",
            Claim::Off => "off",
            Claim::Far => "far",
        };
        let done = match verdict {
            Verdict::Refuse => "refuse, alarm",
            Verdict::Slew => "slew",
            Verdict::Step => "step",
            Verdict::Hold => "hold, alarm, ask the edge",
            Verdict::Ignore => "nothing, the alarm stays",
            Verdict::Keep => "nothing, NTP goes on",
            Verdict::KeepAndResync => "nothing, NTP is asked again",
            Verdict::StepByHeld => "step by NTP's claim",
            Verdict::SlewAgainstNtp => "slew by the edge's, alarm",
            Verdict::StepAgainstNtp => "step by the edge's, alarm",
        };
        format!("| {who} | {clock} | {claim} | {other} | {done} |")
    }
}
