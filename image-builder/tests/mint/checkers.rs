//! Programs of other projects take what the mint hands out.

use std::io::Write as _;
use std::process::{Command, Stdio};

use image_builder::mint::commands;

use crate::skip::has_program;
use crate::support::{Bench, mint};

#[test]
fn xmllint_and_libvirts_schema_take_the_domain_whatever_the_group_is_called() {
    let name = "xmllint_and_libvirts_schema_take_the_domain_whatever_the_group_is_called";
    let bench = Bench::new("domain");
    let mut options = bench.options("mumbai--01");
    options.request.group = Some("<R&D> -- \"West\" ]]>".parse().unwrap());
    mint(&options).unwrap();
    let xml = bench.path("out").join("mumbai--01.xml");
    if has_program(name, "xmllint", "libxml2-utils") {
        run(Command::new("xmllint").arg("--noout").arg(&xml));
        let mac = run(Command::new("xmllint")
            .args(["--xpath", "string(/domain/devices/interface/mac/@address)"])
            .arg(&xml));
        let entry = bench.ledger().entries().next().unwrap().clone();
        assert_eq!(mac.trim(), entry.connector.mac.to_string());
    }
    if has_program(name, "virt-xml-validate", "libvirt-clients") {
        run(Command::new("virt-xml-validate").arg(&xml).arg("domain"));
        // The UEFI variant is the one inside of the comment.
        let text = String::from_utf8(bench.read("mumbai--01.xml")).unwrap();
        let (before, rest) = text
            .split_once("<!-- BIOS. For UEFI, without Secure Boot:")
            .unwrap();
        let (uefi, rest) = rest.split_once("-->").unwrap();
        let (_, after) = rest.split_once("</os>").unwrap();
        let path = bench.path("uefi.xml");
        std::fs::write(&path, format!("{before}{uefi}{after}")).unwrap();
        run(Command::new("virt-xml-validate").arg(&path).arg("domain"));
    }
}

#[test]
fn qemu_starts_the_machine_of_the_page_and_gives_it_the_mac() {
    let name = "qemu_starts_the_machine_of_the_page_and_gives_it_the_mac";
    if !has_program(name, "qemu-system-x86_64", "qemu-system-x86") {
        return;
    }
    let bench = Bench::new("qemu");
    mint(&bench.options("mumbai-01")).unwrap();
    let connector = bench.ledger().entries().next().unwrap().connector.clone();
    let page = String::from_utf8(bench.read("mumbai-01.txt")).unwrap();
    let command = command_of(&page, "qemu-system-x86_64");
    assert_eq!(command, commands::qemu(&connector));

    // As on the page, but halted before the first instruction and without asking for KVM, which
    // may be there and not work.
    let arguments = command[1..]
        .iter()
        .map(|word| word.replace("accel=kvm:tcg", "accel=tcg"));
    let mut qemu = Command::new(&command[0])
        .args(arguments)
        .arg("-S")
        .current_dir(bench.path("out"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Ctrl-A C is how the terminal's owner gets from the console to the monitor.
    let mut monitor = qemu.stdin.take().unwrap();
    monitor.write_all(b"\x01cinfo network\nquit\n").unwrap();
    let output = qemu.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(
        said.contains(&format!("macaddr={}", connector.mac)),
        "{said}{complained}"
    );
}

#[test]
fn the_check_of_the_page_finds_the_files_whole_and_a_changed_one_not() {
    let bench = Bench::new("page");
    mint(&bench.options("mumbai-01")).unwrap();
    let page = String::from_utf8(bench.read("mumbai-01.txt")).unwrap();
    let check = page
        .lines()
        .find(|line| line.contains("sha256sum"))
        .unwrap();
    let check = || {
        let shell = Command::new("sh")
            .args(["-c", check.trim()])
            .current_dir(bench.path("out"))
            .output();
        let output = shell.unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (is_whole, said) = check();
    assert!(is_whole && said.lines().count() == 3, "{said}");
    std::fs::write(bench.path("out").join("mumbai-01.xml"), "<domain/>").unwrap();
    let (is_whole, said) = check();
    assert!(
        !is_whole && said.contains("mumbai-01.xml: FAILED"),
        "{said}"
    );
}

/// The words of the first command on the page that begins with `program`.
fn command_of(page: &str, program: &str) -> Vec<String> {
    let mut lines = page
        .lines()
        .skip_while(|line| !line.trim_start().starts_with(program));
    let mut words = Vec::new();
    loop {
        let line = lines.next().unwrap();
        let continued = line.strip_suffix('\\');
        words.extend(
            continued
                .unwrap_or(line)
                .split_ascii_whitespace()
                .map(str::to_owned),
        );
        if continued.is_none() {
            return words;
        }
    }
}

/// Runs a checker that must succeed; what it said.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    said
}
