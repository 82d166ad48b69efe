//! Connectors that were minted for a test.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_builder::date::Date;
use image_builder::mint::options;
use image_builder::mint::{self, MintError};
use qemu::mac::Mac;

use tests::lab::{self, LabError};
use tests::network::address::EDGE_NAME;

/// The files of a connector, in a folder of its own.
#[derive(Debug)]
pub struct Minted {
    /// The connector's name.
    pub name: String,
    /// The address it was minted for.
    pub mac: Mac,
    folder: PathBuf,
}

/// Why there is no connector.
#[derive(Debug)]
pub enum MintedError {
    /// A file cannot be read or written, or `tar` cannot be started.
    Io(io::Error),
    /// There is no image to mint from.
    Lab(LabError),
    /// The mint refused.
    Mint(Box<MintError>),
    /// The mint does not know the arguments.
    Options(String),
    /// What the mint made is not what it should be.
    Output(String),
}

impl Minted {
    /// Mints the connector `name` for the lab's edge from the image that was built. The MAC address
    /// is the one that the name gives.
    ///
    /// # Errors
    /// [`MintedError`].
    pub fn new(name: &str, folder: &Path) -> Result<Self, MintedError> {
        let image = base_image().map_err(MintedError::Lab)?;
        let folder = folder.join(name);
        let words: [&std::ffi::OsStr; 10] = [
            "--name".as_ref(),
            name.as_ref(),
            "--edge".as_ref(),
            EDGE_NAME.as_ref(),
            "--from".as_ref(),
            image.as_ref(),
            "--out".as_ref(),
            folder.as_ref(),
            "--ledger".as_ref(),
            &folder.join("ledger").into_os_string(),
        ];
        fs::create_dir_all(&folder).map_err(MintedError::Io)?;
        let options = options::parse(&words.map(Into::into))
            .map_err(MintedError::Options)?
            .ok_or_else(|| MintedError::Options("help was not asked for".into()))?;
        let mut mac = None;
        mint::mint(&options, Date::from_unix(0), &mut |minted| {
            mac = Mac::new(minted.planned.entry.connector.mac.0).ok();
        })
        .map_err(|error| MintedError::Mint(Box::new(error)))?;
        let mac =
            mac.ok_or_else(|| MintedError::Output("no connector, or no unicast MAC".into()))?;
        Ok(Self {
            name: name.to_owned(),
            mac,
            folder,
        })
    }

    /// What is missing for minting, as one sentence for `skip!`.
    pub fn missing() -> Option<String> {
        base_image().err().map(|error| error.to_string())
    }

    /// The file with this extension.
    pub fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.name))
    }

    /// The disk out of the OVA, unpacked by `tar` as another hypervisor would.
    ///
    /// # Errors
    /// When `tar` fails, or there is not exactly one disk.
    pub fn vmdk(&self) -> Result<PathBuf, MintedError> {
        let folder = self.folder.join("ova");
        fs::create_dir_all(&folder).map_err(MintedError::Io)?;
        let output = Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(self.file("ova"))
            .arg("--directory")
            .arg(&folder)
            .output()
            .map_err(MintedError::Io)?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(MintedError::Output(complaint));
        }
        let files = fs::read_dir(&folder).map_err(MintedError::Io)?;
        let files = files.map(|entry| entry.map(|entry| entry.path()));
        let files: Vec<PathBuf> = files.collect::<Result<_, _>>().map_err(MintedError::Io)?;
        let is_disk = |path: &&PathBuf| path.extension().is_some_and(|name| name == "vmdk");
        let mut disks = files.iter().filter(is_disk);
        match (disks.next(), disks.next()) {
            (Some(disk), None) => Ok(disk.clone()),
            _ => Err(MintedError::Output(format!(
                "one disk was wanted: {files:?}"
            ))),
        }
    }
}

/// The OVA beside the qcow2 that tests boot.
fn base_image() -> Result<PathBuf, LabError> {
    let ova = lab::find_image()?.with_extension("ova");
    if ova.is_file() {
        Ok(ova)
    } else {
        Err(LabError::NoImage(ova))
    }
}

impl fmt::Display for MintedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connector's files: {error}"),
            Self::Lab(error) => error.fmt(f),
            Self::Mint(error) => write!(f, "the mint refused: {error}"),
            Self::Options(message) => write!(f, "the mint's arguments: {message}"),
            Self::Output(message) => write!(f, "the mint's files: {message}"),
        }
    }
}

impl std::error::Error for MintedError {}
