//! `cargo image verify FILE...`: what an artefact is, and whether it is what it says.
//!
//! | module | role |
//! |---|---|
//! | [`kind`] | pure: what a file is, by its first bytes and never by its name |
//! | [`report`] | pure: what a person is told, and whether all of it holds |
//! | [`disk`] | pure: partition table, slots, boot state |
//! | [`machine`] | pure: descriptor, manifest, signature |
//! | [`beside`] | the files that a manifest, SHA256SUMS or a signature is about |
//! | [`checkout`] | the build of this checkout, to compare with |
//!
//! Files are foreign: whatever is in them, reading is bounded and ends in a report.

mod beside;
pub mod checkout;
mod disk;
mod kind;
mod machine;
mod report;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use disk_format::qcow2;
use disk_format::vmdk::Vmdk;

use self::checkout::Build;
pub use self::kind::Kind;
pub use self::report::Report;
use crate::build::mib;
use crate::output::sha256_hex;
use crate::ova::Ova;
use crate::sign;

/// The longest file that is read: no artefact is longer, and a disk that a person grew may be.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// The longest disk inside a container, which bounds the memory that a hostile header can ask for.
pub const DISK_BYTES_MAX: u64 = 1 << 30;

const USAGE: &str = "\
usage: cargo image verify [--build DIR] FILE...
         say what each FILE is (any artefact of cargo image or mint), check all that can be
         checked in it, and compare it with this checkout's build
           --build     where that build is                        [target/image]
       The exit status is 0 when every check holds. A file that differs from this checkout's
       build is no failure: it may be older, or minted.
";

/// The command.
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    let (directory, files) = match arguments {
        [option, directory, files @ ..] if option == "--build" => (directory.into(), files),
        files => (checkout::default_directory(), files),
    };
    let is_option = |file: &OsString| file.as_encoded_bytes().starts_with(b"--");
    if files.is_empty() || files.iter().any(is_option) {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    }
    let build = Build::load(&directory);
    let mut all_hold = true;
    let mut out = std::io::stdout().lock();
    for file in files {
        let report = verify(Path::new(file), &build);
        all_hold &= report.holds();
        if write!(out, "{}\n{report}\n", Path::new(file).display()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Reads `file` and reports on it, and how it compares with `build`.
#[must_use]
pub fn verify(file: &Path, build: &Build) -> Report {
    let mut report = Report::default();
    match read(file) {
        Err(reason) => report.wrong(&reason),
        Ok(bytes) => {
            let digest = sha256_hex(&bytes);
            let kind = Kind::of(&bytes);
            let size = match bytes.len() {
                small @ ..SMALL_BYTES => format!("{small} bytes"),
                large => mib(large),
            };
            report.say(&format!("{kind}, {size}, sha256 {digest}"));
            let content = inspect(kind, &bytes, &mut report);
            let folder = file.parent().unwrap_or(Path::new("."));
            beside::check(kind, &bytes, folder, &mut report);
            build.compare(&digest, &content, &mut report);
        }
    }
    report
}

/// What a file turned out to hold.
#[derive(Debug, Default)]
struct Content {
    /// The disk's bytes, when there is one that can be read.
    disk: Option<Vec<u8>>,
    /// The machine, when there is a descriptor that can be read.
    descriptor: Option<ovf::descriptor::Descriptor>,
}

/// Checks what is in `bytes`, without looking at anything else.
fn inspect(kind: Kind, bytes: &[u8], report: &mut Report) -> Content {
    let mut content = Content::default();
    match kind {
        Kind::Ova => match Ova::parse(bytes) {
            Ok(ova) => {
                machine::ova(&ova, report);
                content.disk = report.need(ova.vmdk.to_disk());
                let state = content
                    .disk
                    .as_ref()
                    .and_then(|disk| disk::check(disk, report));
                machine::same_identity(&ova.descriptor, state.as_ref(), report);
                content.descriptor = Some(ova.descriptor);
            }
            Err(error) => report.wrong(&error.to_string()),
        },
        Kind::Ovf => {
            content.descriptor = report.need(ovf::descriptor::Descriptor::parse(bytes));
            if let Some(descriptor) = &content.descriptor {
                machine::descriptor(descriptor, report);
            }
        }
        Kind::Qcow2 => {
            content.disk = report.need(qcow2::parse(bytes, DISK_BYTES_MAX));
            if content.disk.is_some() {
                untouched(qcow2::parse_untouched(bytes, DISK_BYTES_MAX), report);
            }
        }
        Kind::Raw => content.disk = Some(bytes.to_vec()),
        Kind::Vmdk => {
            if let Some(vmdk) = report.need(Vmdk::parse(bytes)) {
                report.good("stream: header, grains, tables, footer, end of stream");
                content.disk = report.need(vmdk.to_disk());
            }
        }
        Kind::Bill => bill(bytes, report),
        Kind::Facts | Kind::Manifest | Kind::Signature | Kind::Sums => {}
        Kind::Unknown => report.wrong("this is no artefact of ours, or its beginning is destroyed"),
    }
    if let (Kind::Qcow2 | Kind::Raw | Kind::Vmdk, Some(disk)) = (kind, &content.disk) {
        let _ = disk::check(disk, report);
    }
    content
}

/// Whether nothing hides between the clusters. A disk that a VM has run on fails here, and should:
/// it is no image to deploy any more.
fn untouched(strict: Result<Vec<u8>, qcow2::Qcow2Error>, report: &mut Report) {
    match strict {
        Ok(_) => report.good("container: every byte is where the builder puts it"),
        Err(error) => report.wrong(&format!(
            "container: {error}; something wrote to this file since it was built, as a VM that runs on it does"
        )),
    }
}

/// A bill of materials says of how many parts it is about.
fn bill(bytes: &[u8], report: &mut Report) {
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
    let Some(bill) = report.need(parsed) else {
        return;
    };
    let components = bill["components"].as_array().map_or(0, Vec::len);
    report.check(
        bill["bomFormat"] == "CycloneDX" && components > 0,
        &format!(
            "CycloneDX, {components} components of version {}",
            bill["metadata"]["component"]["version"]
        ),
    );
}

/// Fuzz body: whatever is in a file, it ends in a report, and nothing of it acts on a terminal.
pub fn fuzz_verify(data: &[u8]) {
    let mut report = Report::default();
    let _ = inspect(Kind::of(data), data, &mut report);
    // What is read only in company of other files.
    report.need(beside::outputs(data));
    report.need(beside::sums(data));
    report.need(sign::verify(data, "outgate.mf", b""));
    let acts = |character: char| character.is_control() && character != '\n';
    assert!(!report.to_string().contains(acts), "a control character");
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let about = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("this is no file".into());
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(format!(
            "the file has {} bytes; at most {FILE_BYTES_MAX} are read, and no artefact is longer",
            about.len()
        ));
    }
    std::fs::read(file).map_err(|error| error.to_string())
}

/// From here on a size is told in MiB.
const SMALL_BYTES: usize = 1 << 20;
