//! What a carried byte costs in the guest: copies, instructions and system calls, counted and held to limits.
//!
//! Counts are of the whole machine and repeat; times under software emulation would say nothing.

use tests::folders;
use tests::instruction_count::table::Table;
use tests::instruction_count::{self, Direction, Means};
use tests::lab::Lab;

/// What a means may cost at most, up and down.
struct Limits {
    means: Means,
    /// Bytes copied for each byte of payload, the source's own copy among them.
    copied: [f64; 2],
    /// Instructions of the whole machine for each byte, without those that copy or zero.
    instructions: [f64; 2],
    /// System calls for each MiB, without those of source and sink.
    calls: [f64; 2],
}

/// Instructions for each byte that the kernel's hardening adds to engine A: it clears what it allocates,
/// erases its stack after each call, and checks its lists and page tables.
const HARDENING: f64 = 0.45;

/// Engine A copies nothing: the source's own copy is all there is. 2.2 of the instructions are the kernel's
/// AES-GCM for processors without vector AES.
const KERNEL: Limits = Limits {
    means: Means::Kernel,
    copied: [1.05, 1.05],
    instructions: [4.0 + HARDENING, 3.7 + HARDENING],
    calls: [12.5, 75.0],
};

/// Engine B copies into this process and out of it, and nothing in between.
const IN_PLACE: Limits = Limits {
    means: Means::InPlace,
    copied: [3.05, 3.15],
    instructions: [3.2, 3.2],
    calls: [20.0, 20.0],
};

#[test]
fn a_byte_is_carried_without_a_copy_by_engine_a_and_with_two_by_engine_b() {
    if let Some(missing) = Lab::missing_for_vm().or_else(instruction_count::missing) {
        tests::skip!(missing);
    }
    let all = [Means::Nothing, Means::Stock, Means::InPlace, Means::Kernel];
    let table = instruction_count::count("instruction-gate", &all).unwrap();
    eprintln!("{}", table.markdown());
    table.write(&folders::target().join("bench")).unwrap();
    let mut wrong = wrong_with_the_meter(&table);
    wrong.extend(over(&table, &KERNEL));
    wrong.extend(over(&table, &IN_PLACE));
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", table.markdown());
}

/// What is known beforehand: a source copies once, and stock rustls thrice up and four times down besides.
fn wrong_with_the_meter(table: &Table) -> Vec<String> {
    let known = [(Means::Nothing, [1.0, 1.0]), (Means::Stock, [4.0, 5.0])];
    let cells = known.iter().flat_map(|(means, copies)| {
        [Direction::Up, Direction::Down]
            .into_iter()
            .zip(copies)
            .map(|(to, known)| (*means, to, *known))
    });
    cells
        .map(|(means, to, known)| (means, to, known, table.cost(means, to).copied))
        .filter(|(_, _, known, counted)| (counted - known).abs() > 0.1)
        .map(|(means, to, known, counted)| {
            format!("{means:?} {to:?}: {counted} copies counted, {known} made")
        })
        .collect()
}

fn over(table: &Table, limits: &Limits) -> Vec<String> {
    let means = limits.means;
    let mut over = Vec::new();
    for (index, to) in [Direction::Up, Direction::Down].into_iter().enumerate() {
        let cost = table.cost(means, to);
        for (what, counted, most) in [
            ("bytes copied per byte", cost.copied, limits.copied[index]),
            (
                "instructions per byte",
                cost.instructions,
                limits.instructions[index],
            ),
            (
                "calls per MiB",
                table.own_calls(means, to),
                limits.calls[index],
            ),
        ] {
            if counted > most {
                over.push(format!(
                    "{means:?} {to:?}: {counted:.3} {what}, at most {most}"
                ));
            }
        }
    }
    over
}
