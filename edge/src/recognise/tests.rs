//! Every combination of evidence, against tables that say it in another way.

use super::*;

const KNOWN: Fingerprint = Fingerprint {
    mac: [2, 0, 0, 0, 0, 1],
    smbios_uuid: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    vm_generation: [3; 16],
    tpm: [4; 32],
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Same,
    Other,
    /// Zeros where the other side has a value.
    Absent,
}

const OPTIONAL: [Field; 3] = [Field::Same, Field::Other, Field::Absent];
const RATCHETS: [RatchetStanding; 3] = [
    RatchetStanding::Fresh,
    RatchetStanding::Stale,
    RatchetStanding::Quarantined,
];
const INCUMBENTS: [Incumbent; 3] = [Incumbent::None, Incumbent::Unknown, Incumbent::Alive];
const POLICIES: [MovedNic; 2] = [MovedNic::Accept, MovedNic::Hold];

/// What is another than it was, and the verdict for a fresh and for a stale value. `*`: admitted;
/// `?`: admitted if the group's policy accepts it.
const VERDICTS: [(&str, &str, &str); 4] = [
    ("nothing", "* SameMachine", "* Reverted"),
    ("generation", "* Reverted", "* Reverted"),
    ("mac", "? MovedNic", "? RestoredBackup"),
    ("uuid or tpm", "  Copy", "? RestoredBackup"),
];

#[test]
fn every_combination_of_evidence_has_the_verdict_of_the_table() {
    let mut judged = 0;
    all(|evidence, [mac, uuid, tpm, generation]| {
        judged += 1;
        let row = if [uuid, tpm].contains(&Field::Other) {
            3
        } else if mac == Field::Other {
            2
        } else {
            usize::from(generation == Field::Other)
        };
        let stale = evidence.superseded || evidence.ratchet == RatchetStanding::Stale;
        let cell = if stale {
            VERDICTS[row].2
        } else {
            VERDICTS[row].1
        };
        let admitted = match cell.chars().next() {
            Some('*') => !evidence.superseded,
            Some('?') => evidence.policy == MovedNic::Accept && !evidence.superseded,
            _ => false,
        };
        let by_table = (cell[2..].to_owned(), admitted);
        let copy = ("Copy".to_owned(), false);
        let expected = match (evidence.ratchet, evidence.incumbent) {
            (RatchetStanding::Quarantined, _) | (_, Incumbent::Alive) => Some(copy),
            (_, Incumbent::Unknown) => None,
            (_, Incumbent::None) => Some(by_table),
        };
        let found = match recognise(&evidence) {
            Recognition::Admit(verdict) => Some((format!("{verdict:?}"), true)),
            Recognition::Hold(verdict) => Some((format!("{verdict:?}"), false)),
            Recognition::AskIncumbent => None,
        };
        assert_eq!(found, expected, "{evidence:?}");
    });
    assert_eq!(judged, 2 * 2 * 3 * 3 * 3 * 2 * 3 * 2);
}

#[test]
fn nobody_is_admitted_beside_a_live_incumbent_or_with_a_quarantined_value_or_an_old_certificate() {
    all(|evidence, _| {
        let admitted = matches!(recognise(&evidence), Recognition::Admit(_));
        let forbidden = evidence.incumbent != Incumbent::None
            || evidence.ratchet == RatchetStanding::Quarantined
            || evidence.superseded;
        assert!(!(admitted && forbidden), "{evidence:?}");
    });
}

#[test]
fn with_the_incumbents_answer_the_judgement_is_final() {
    all(|evidence, _| {
        if evidence.incumbent != Incumbent::Unknown {
            assert_ne!(recognise(&evidence), Recognition::AskIncumbent);
        }
    });
}

#[test]
fn what_either_side_lacks_proves_nothing() {
    let (mut known, mut presented) = (KNOWN, KNOWN);
    known.tpm = [0; 32];
    presented.vm_generation = [0; 16];
    let admitted = Recognition::Admit(Verdict::SameMachine);
    assert_eq!(recognise(&fresh(known, presented)), admitted);
    assert_eq!(recognise(&fresh(presented, known)), admitted);
}

#[test]
fn a_uuid_in_the_other_byte_order_is_the_same_and_no_other_order_is() {
    let mut presented = KNOWN;
    presented.smbios_uuid = [4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16];
    let evidence = fresh(KNOWN, presented);
    assert_eq!(
        recognise(&evidence),
        Recognition::Admit(Verdict::SameMachine)
    );
    presented.smbios_uuid.reverse();
    let evidence = fresh(KNOWN, presented);
    assert_eq!(recognise(&evidence), Recognition::Hold(Verdict::Copy));
}

fn fresh(known: Fingerprint, presented: Fingerprint) -> Evidence {
    Evidence {
        known,
        presented,
        ratchet: RatchetStanding::Fresh,
        superseded: false,
        incumbent: Incumbent::None,
        policy: MovedNic::Hold,
    }
}

/// Calls `judge` with every combination; the fields are MAC, UUID, TPM and generation.
fn all(mut judge: impl FnMut(Evidence, [Field; 4])) {
    for mac in [Field::Same, Field::Other] {
        for uuid in [Field::Same, Field::Other] {
            for tpm in OPTIONAL {
                for generation in OPTIONAL {
                    let presented = presented([mac, uuid, tpm, generation]);
                    for ratchet in RATCHETS {
                        for superseded in [false, true] {
                            for incumbent in INCUMBENTS {
                                for policy in POLICIES {
                                    let evidence = Evidence {
                                        known: KNOWN,
                                        presented,
                                        ratchet,
                                        superseded,
                                        incumbent,
                                        policy,
                                    };
                                    judge(evidence, [mac, uuid, tpm, generation]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn presented([mac, uuid, tpm, generation]: [Field; 4]) -> Fingerprint {
    Fingerprint {
        mac: field(KNOWN.mac, mac),
        smbios_uuid: field(KNOWN.smbios_uuid, uuid),
        tpm: field(KNOWN.tpm, tpm),
        vm_generation: field(KNOWN.vm_generation, generation),
    }
}

fn field<const N: usize>(known: [u8; N], field: Field) -> [u8; N] {
    match field {
        Field::Same => known,
        Field::Other => known.map(|byte| byte ^ 0x55),
        Field::Absent => [0; N],
    }
}
