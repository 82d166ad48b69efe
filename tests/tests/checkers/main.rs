//! The OVA in the hands of programs that nobody here wrote, and of our own readers: each finds nothing to complain
//! about in it, and each finds what was broken for it.
//!
//! 1. [`package`]: the OVA under check, small but with everything the real one has; the real one when it was built.
//! 2. [`mutant`]: the table of what can be wrong, and who notices.
//! 3. [`checker`]: those who look.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a panic is how a test and its helpers report, and the verdicts are printed"
)]

mod checker;
mod mutant;
mod package;

use std::path::Path;
use std::thread;

use checker::{CHECKERS, Checker};
use mutant::{MUTANTS, Mutant};
use package::{Break, Package, Parts};
use qemu::temp::TempDir;

#[test]
fn xmllint_holds_the_descriptor_against_the_schema() {
    if let Err(reason) = checker::schema() {
        return tests::skip::note(&reason);
    }
    holds("xmllint");
}

#[test]
fn our_reader_of_descriptors_follows_every_reference_and_checks_the_mac() {
    holds("descriptor");
}

#[test]
fn virt_v2v_verifies_the_manifest_and_reads_the_minted_mac() {
    holds("virt-v2v");
}

#[test]
fn govmomi_imports_the_ova_into_a_simulated_vcenter() {
    holds("govmomi");
}

#[test]
fn qemu_img_finds_the_vmdk_sound() {
    holds("qemu-img check");
}

#[test]
fn qemu_img_finds_the_same_disk_in_the_vmdk() {
    holds("qemu-img compare");
}

#[test]
fn the_stream_walk_finds_every_part_of_the_vmdk_in_its_place() {
    holds("stream walk");
}

#[test]
fn gnu_tar_lists_plain_files_in_the_order_of_the_standard() {
    holds("tar");
}

#[test]
fn sha256sum_confirms_every_digest_of_the_manifest() {
    holds("sha256sum");
}

#[test]
fn openssl_confirms_the_signature_of_the_manifest() {
    holds("openssl");
}

#[test]
fn our_reader_of_ovas_refuses_whatever_anyone_refuses() {
    holds("ova");
}

#[test]
fn every_checker_has_a_mutant_and_our_reader_of_ovas_notices_all_of_them() {
    for checker in CHECKERS {
        let is_challenged = MUTANTS
            .iter()
            .any(|mutant| mutant.is_noticed_by(checker.name));
        assert!(is_challenged, "{} has no mutant", checker.name);
    }
    for mutant in MUTANTS {
        for name in mutant.noticed_by {
            let is_known = CHECKERS.iter().any(|checker| checker.name == *name);
            assert!(is_known, "{}: there is no checker {name}", mutant.name);
        }
        assert!(
            mutant.is_noticed_by("ova"),
            "{}: our own reader takes it",
            mutant.name
        );
    }
}

/// The checker `name` passes the sound packages, and fails exactly the mutants that the table says it notices. Each
/// verdict is printed.
fn holds(name: &str) {
    let checker = CHECKERS
        .iter()
        .find(|checker| checker.name == name)
        .unwrap();
    if let Some(reason) = (checker.missing)().or_else(checker::signer_is_missing) {
        tests::skip!(reason);
    }
    let folder = TempDir::new("outgate-checkers").unwrap();
    let parts = Parts::small(true);
    for (what, sound) in [
        ("unsigned", Some(Parts::small(false).seal(Break::Nothing))),
        ("signed", Some(parts.seal(Break::Nothing))),
        ("built", Package::built()),
    ] {
        let verdict = sound.map_or(Ok(()), |package| {
            look(checker, &package, &folder.path().join(what))
        });
        assert_eq!(verdict, Ok(()), "{name} complains about the {what} OVA");
    }
    let mut wrong = Vec::new();
    for (mutant, verdict) in MUTANTS.iter().zip(verdicts(checker, &parts, folder.path())) {
        let said = verdict
            .as_ref()
            .map_or_else(|said| one_line(said), |()| "passes".into());
        println!("{name:16} {:40} {said}", mutant.name);
        if verdict.is_err() != mutant.is_noticed_by(name) {
            wrong.push(format!("{}: {said}", mutant.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{name} against the table:\n{}",
        wrong.join("\n")
    );
}

/// What `checker` says of each mutant. They are looked at side by side: virt-v2v waits half a minute for the server of
/// a disk that cannot be opened, and never computes for long.
fn verdicts(checker: &Checker, parts: &Parts, folder: &Path) -> Vec<Result<(), String>> {
    thread::scope(|scope| {
        let looks = |mutant: &'static Mutant| {
            let at = folder.join(mutant.name.replace(' ', "-"));
            let package = parts.seal(mutant.broken);
            scope.spawn(move || look(checker, &package, &at))
        };
        let looking: Vec<_> = MUTANTS.iter().map(looks).collect();
        looking
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Writes the package to a folder and lets `checker` look at it there.
fn look(checker: &Checker, package: &Package, folder: &Path) -> Result<(), String> {
    package.write(folder);
    let verdict = (checker.check)(package, folder);
    std::fs::remove_dir_all(folder).unwrap();
    verdict
}

/// The last line with something in it: programs say what is wrong at the end.
fn one_line(complaint: &str) -> String {
    let mut lines = complaint.lines().filter(|line| !line.trim().is_empty());
    lines
        .next_back()
        .unwrap_or("fails")
        .trim()
        .chars()
        .take(140)
        .collect()
}
