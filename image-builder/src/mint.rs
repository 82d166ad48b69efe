//! `cargo image mint`: one image becomes one connector, with its name and its MAC address pinned.
//!
//! | module | role |
//! |---|---|
//! | [`connector`], [`settings`] | pure: what tells one connector from another |
//! | [`address`] | pure: which MAC address it gets, and which are refused |
//! | [`fleet`] | pure: `--count` |
//! | [`ledger`], [`date`] | pure: the text that keeps names and addresses unique |
//! | [`plan`] | pure: request and ledger become what is minted, all or nothing |
//! | [`commands`], [`domain`], [`sheet`] | pure: what the person who deploys is handed |
//! | [`ledger_file`] | the ledger on disk, locked |
//! | [`base`] | the image that is minted from, and the files that are made of it |
//! | [`options`] | the command line |
//!
//! Nothing is compressed but the one grain of the disk that says who the connector is, so a mint
//! takes a fraction of a second. Equal requests give equal bytes, whenever and wherever.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use crate::output::{Artefact, sha256_hex, write_atomically};
use crate::sign::Signer;

pub mod connector;
pub mod settings;

pub mod address;

pub mod fleet;

pub mod ledger;

pub mod plan;

pub mod commands;
pub mod domain;
pub mod sheet;

pub mod ledger_file;

pub mod base;

pub mod options;

mod error;

pub use error::MintError;

use crate::date::Date;
use base::Base;
use ledger_file::LedgerFile;
use options::{Options, USAGE};
use plan::{Kind, Planned};

/// A connector that was minted.
#[derive(Debug)]
pub struct Minted {
    /// What the ledger says.
    pub planned: Planned,
    /// Its files, as they were written into the output folder.
    pub files: Vec<Artefact>,
}

/// Mints what `options` ask for; `today` is for the ledger. Calls `tell` for each connector when its
/// files are written: the files of a fleet are not all in memory at once.
///
/// The ledger is written first. When a file cannot be written then, the same command repeats the
/// mint; the other way around, a MAC address could be out without the ledger knowing.
///
/// # Errors
/// When any connector cannot be minted; nothing is written then, unless the disk is full.
pub fn mint(options: &Options, today: Date, tell: &mut dyn FnMut(Minted)) -> Result<(), MintError> {
    let mut base = Base::load(&options.from)?;
    let signer = load_signer(options)?;
    fs::create_dir_all(&options.out).map_err(MintError::file(&options.out))?;
    for planned in reserve(options, &base, today)? {
        let files = base.mint(&planned.entry.connector, signer.as_ref())?;
        for file in &files {
            write_atomically(&options.out.join(&file.name), &file.content)
                .map_err(MintError::format)?;
        }
        tell(Minted { planned, files });
    }
    Ok(())
}

/// Plans under the ledger's lock, and records the plan.
fn reserve(options: &Options, base: &Base, today: Date) -> Result<Vec<Planned>, MintError> {
    let file = LedgerFile::lock(&options.ledger)?;
    let mut ledger = file.read()?;
    let planned =
        plan::plan(&options.request, &ledger, base.digest(), today).map_err(MintError::Plan)?;
    if planned.iter().any(|planned| planned.kind != Kind::Again) {
        for planned in &planned {
            ledger.record(planned.entry.clone());
        }
        file.write(&ledger)?;
    }
    Ok(planned)
}

fn load_signer(options: &Options) -> Result<Option<Signer>, MintError> {
    let Some((key, certificate)) = &options.sign else {
        return Ok(None);
    };
    let key_pem = fs::read(key).map_err(MintError::file(key))?;
    let certificate_pem = fs::read(certificate).map_err(MintError::file(certificate))?;
    Signer::from_pem(&key_pem, &certificate_pem)
        .map(Some)
        .map_err(|error| MintError::Sign(Box::new(error)))
}

/// The command: see [`USAGE`].
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    let started = Instant::now();
    let options = match options::parse(arguments) {
        Ok(Some(options)) => options,
        Ok(None) => return said(USAGE),
        Err(message) => {
            eprint!("mint    {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A clock before 1970 is one that was never set; the date is for people only.
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut text = String::new();
    let minted = mint(&options, Date::from_unix(now.as_secs()), &mut |minted| {
        text.push_str(&report(&minted));
    });
    let ended = match minted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mint    {error}");
            ExitCode::FAILURE
        }
    };
    if !text.is_empty() {
        text.push_str(&format!(
            "in {} after {:.2} s; ledger {}\n",
            options.out.display(),
            started.elapsed().as_secs_f64(),
            options.ledger.display()
        ));
    }
    if said(&text) == ExitCode::SUCCESS {
        ended
    } else {
        ExitCode::FAILURE
    }
}

/// What a person is told about one connector.
fn report(minted: &Minted) -> String {
    let entry = &minted.planned.entry;
    let connector = &entry.connector;
    let note = match minted.planned.kind {
        Kind::New => String::new(),
        Kind::Again => format!(", the same as on {}", entry.minted),
        Kind::FromOtherImage(recorded) => format!(
            ", again: from image {}, before from {recorded}",
            entry.image
        ),
    };
    let mut text = format!("{} {}{note}\n", connector.name, connector.mac);
    for file in &minted.files {
        let digest = sha256_hex(&file.content);
        text.push_str(&format!(
            "{digest}  {:>10}  {}\n",
            file.content.len(),
            file.name
        ));
    }
    text
}

fn said(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
