//! Discs as two foreign writers make them, and as strangers might.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;

const TEXT: &[u8] = b"<Environment/>";

fn look(disc: &[u8]) -> Result<Option<Vec<u8>>, CdError> {
    environment(&mut |offset, buffer| {
        let start = usize::try_from(offset).unwrap();
        let part = disc.get(start..start + buffer.len());
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    })
}

/// A disc of one descriptor and one file.
fn disc(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut disc = vec![0; 18 * SECTOR_BYTES];
    let descriptor = &mut disc[16 * SECTOR_BYTES..17 * SECTOR_BYTES];
    descriptor[0] = PRIMARY;
    descriptor[1..6].copy_from_slice(IDENTIFIER);
    descriptor[128..130].copy_from_slice(&2048_u16.to_le_bytes());
    descriptor[156..190].copy_from_slice(&record(b"\0", 18, 2048, FLAG_DIRECTORY)[..34]);
    disc[17 * SECTOR_BYTES] = TERMINATOR;
    disc[17 * SECTOR_BYTES + 1..17 * SECTOR_BYTES + 6].copy_from_slice(IDENTIFIER);
    let mut directory = record(b"\0", 18, 2048, FLAG_DIRECTORY);
    directory.extend(record(name, 19, u32::try_from(content.len()).unwrap(), 0));
    directory.resize(SECTOR_BYTES, 0);
    disc.extend(directory);
    disc.extend(content);
    disc.resize(disc.len().next_multiple_of(SECTOR_BYTES), 0);
    disc
}

fn record(name: &[u8], sector: u32, bytes: u32, flags: u8) -> Vec<u8> {
    let mut record = vec![0; 33];
    record[2..6].copy_from_slice(&sector.to_le_bytes());
    record[10..14].copy_from_slice(&bytes.to_le_bytes());
    record[25] = flags;
    record[32] = u8::try_from(name.len()).unwrap();
    record.extend(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len()).unwrap();
    record
}

const FLAG_DIRECTORY: u8 = 2;
/// Where the file's record begins on [`disc`]: behind the root's own.
const RECORD_AT: usize = 18 * SECTOR_BYTES + 34;

#[test]
fn the_file_is_found_by_every_name_that_writers_give_it() {
    for name in [
        "ovf-env.xml",
        "OVF_ENV.XML;1",
        "OVF-ENV.XML",
        "Ovf-Env.Xml;2",
    ] {
        let found = look(&disc(name.as_bytes(), TEXT)).unwrap();
        assert_eq!(found.as_deref(), Some(TEXT), "{name}");
    }
    for name in ["ovf-env.xm", "ovf-env.xml2", "x", ""] {
        assert_eq!(look(&disc(name.as_bytes(), TEXT)).unwrap(), None, "{name}");
    }
}

#[test]
fn a_disc_of_another_kind_has_no_environment_and_a_broken_one_says_so() {
    assert_eq!(look(&vec![0; 40 * SECTOR_BYTES]).unwrap(), None);
    let whole = disc(b"OVF_ENV.XML;1", TEXT);
    let error = look(&whole[..whole.len() - 1]).unwrap_err();
    assert!(
        error.to_string().starts_with("it cannot be read"),
        "{error}"
    );
}

#[test]
fn lengths_are_bounded_before_anything_is_read() {
    let mut long = disc(b"OVF_ENV.XML;1", TEXT);
    long[RECORD_AT + 10..RECORD_AT + 14].copy_from_slice(&65_537_u32.to_le_bytes());
    let error = look(&long).unwrap_err().to_string();
    assert_eq!(error, "its ovf-env.xml has 65537 bytes; the limit is 65536");
    let mut wide = disc(b"OVF_ENV.XML;1", TEXT);
    let root = 16 * SECTOR_BYTES + ROOT_AT;
    wide[root + 10..root + 14].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = look(&wide).unwrap_err().to_string();
    assert!(
        error.starts_with("its root directory has 4294967295 bytes"),
        "{error}"
    );
}

#[test]
fn a_directory_of_that_name_is_no_file_and_an_interleaved_file_is_refused() {
    let mut directory = disc(b"OVF_ENV.XML", TEXT);
    directory[RECORD_AT + 25] = FLAG_DIRECTORY;
    assert_eq!(look(&directory).unwrap(), None);
    let mut interleaved = disc(b"OVF_ENV.XML", TEXT);
    interleaved[RECORD_AT + 26] = 1;
    assert!(matches!(look(&interleaved), Err(CdError::Layout)));
}

#[test]
fn discs_of_genisoimage_and_xorriso_are_read_whatever_names_they_carry() {
    let folder = scratch("written");
    fs::create_dir_all(folder.join("in")).unwrap();
    let long = "<Environment>".to_owned() + &" ".repeat(5000) + "</Environment>";
    fs::write(folder.join("in/ovf-env.xml"), &long).unwrap();
    fs::write(folder.join("in/a-file-that-comes-first.txt"), "nothing").unwrap();
    let mut discs = 0;
    for writer in [&["genisoimage"][..], &["xorriso", "-as", "mkisofs"]] {
        for options in [&[][..], &["-R"], &["-J"], &["-R", "-J", "-V", "OVF ENV"]] {
            let Some(disc) = written(writer, options, &folder) else {
                continue;
            };
            let found = look(&disc).unwrap();
            assert_eq!(
                found.as_deref(),
                Some(long.as_bytes()),
                "{writer:?} {options:?}"
            );
            discs += 1;
        }
    }
    fs::remove_dir_all(folder).unwrap();
    if discs == 0 {
        eprintln!("SKIPPED discs of foreign writers: genisoimage and xorriso are not installed");
    }
}

/// A disc that another program wrote; nothing when it is not installed.
fn written(writer: &[&str], options: &[&str], folder: &Path) -> Option<Vec<u8>> {
    let path = folder.join("disc.iso");
    let mut command = Command::new(writer[0]);
    command.args(&writer[1..]).args(options);
    let output = command
        .arg("-o")
        .arg(&path)
        .arg(folder.join("in"))
        .output()
        .ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(fs::read(path).unwrap())
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("outgate-cd-{name}-{}", std::process::id()))
}

proptest! {
    #[test]
    fn no_disc_makes_the_reader_panic_or_read_without_end(
        changes in prop::collection::vec((16 * SECTOR_BYTES..19 * SECTOR_BYTES, any::<u8>()), 1..12),
        near in prop::collection::vec((0_usize..160, any::<u8>()), 0..12),
    ) {
        let mut disc = disc(b"OVF_ENV.XML;1", TEXT);
        for (at, byte) in changes {
            disc[at] = byte;
        }
        for (at, byte) in near {
            disc[16 * SECTOR_BYTES + at + 80] = byte;
            disc[18 * SECTOR_BYTES + at] = byte;
        }
        fuzz_cd(&disc);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(data in prop::collection::vec(any::<u8>(), 0..4096)) {
        fuzz_cd(&data);
    }
}
