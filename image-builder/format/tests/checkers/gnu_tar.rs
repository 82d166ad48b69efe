//! GNU tar.

use std::process::Command;

use disk_format::tar::{self, Entry};

use crate::skip::has_program;
use crate::support::{TempDir, run};

const FILES: &[Entry<'_>] = &[
    Entry {
        name: "outgate.ovf",
        content: b"<Envelope/>\n",
    },
    Entry {
        name: "outgate.mf",
        content: &[b'm'; 512],
    },
    Entry {
        name: "outgate.vmdk",
        content: &[7; 70_000],
    },
];

#[test]
fn gnu_tar_writes_the_same_archive_byte_for_byte() {
    let name = "gnu_tar_writes_the_same_archive_byte_for_byte";
    if !has_program(name, "tar", "tar") {
        return;
    }
    let directory = TempDir::new("tar-same");
    for file in FILES {
        directory.write(file.name, file.content);
    }
    let archive = directory.path().join("theirs.ova");
    run(Command::new("tar")
        .args(["--create", "--format=ustar", "--blocking-factor=1"])
        .args(["--numeric-owner", "--owner=0", "--group=0", "--mode=0644"])
        .arg("--mtime=@1700000000")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(directory.path())
        .args(FILES.iter().map(|file| file.name)));
    let theirs = std::fs::read(archive).unwrap();
    assert!(theirs == tar::emit(FILES, 1_700_000_000).unwrap());
    assert_eq!(tar::parse(&theirs).unwrap(), FILES);
}

#[test]
fn gnu_tar_lists_the_files_in_order_with_mode_owner_and_time() {
    let name = "gnu_tar_lists_the_files_in_order_with_mode_owner_and_time";
    if !has_program(name, "tar", "tar") {
        return;
    }
    let directory = TempDir::new("tar-list");
    let archive = directory.write("ours.ova", &tar::emit(FILES, 1_700_000_000).unwrap());
    let listing = run(Command::new("tar")
        .args(["--list", "--verbose", "--utc", "--full-time", "--file"])
        .arg(&archive));
    let words: Vec<Vec<&str>> = listing
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let line = |length, name| vec!["-rw-r--r--", "0/0", length, "2023-11-14", "22:13:20", name];
    assert_eq!(
        words,
        [
            line("12", "outgate.ovf"),
            line("512", "outgate.mf"),
            line("70000", "outgate.vmdk"),
        ]
    );
}
