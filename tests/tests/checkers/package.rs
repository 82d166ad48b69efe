//! The OVA under check.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use disk_format::tar::{self, Entry};
use disk_format::vmdk::Vmdk;
use image_builder::ova::{Ova, Packed};
use image_builder::sign::Signer;
use ovf::descriptor::{Descriptor, Disk};
use ovf::mac::MacAddress;
use ovf::manifest;
use ovf::property::PROPERTIES;
use qemu::temp::TempDir;
use sha2::{Digest as _, Sha256};
use tests::lab;

/// What the files of the small OVA are called, before the dot.
const NAME: &str = "mumbai-01";
/// The MAC that is pinned in it.
pub const MAC: MacAddress = MacAddress([0x00, 0x50, 0x56, 0x01, 0x02, 0x03]);
const EPOCH: u32 = 1_700_000_000;
const DISK_MIB: usize = 4;
const MIB: usize = 1 << 20;

/// An OVA, whole or broken.
#[derive(Debug)]
pub struct Package {
    /// Name and content of each file, in the archive's order.
    pub files: Vec<(String, Vec<u8>)>,
    /// The archive of them.
    pub archive: Vec<u8>,
    /// The disk that should be in it.
    pub disk: Vec<u8>,
    /// The MAC that should be in it.
    pub mac: Option<MacAddress>,
}

impl Package {
    /// The one that the image's build left, if it did.
    pub fn built() -> Option<Self> {
        let qcow2 = lab::find_image().ok()?;
        let archive = std::fs::read(qcow2.with_file_name("outgate.ova")).ok()?;
        let disk = std::fs::read(qcow2.with_file_name("outgate.raw")).unwrap();
        let files = tar::parse(&archive).unwrap();
        let files = files
            .iter()
            .map(|file| (file.name.into(), file.content.to_vec()));
        Some(Self {
            files: files.collect(),
            disk,
            mac: None,
            archive,
        })
    }

    /// The file with this extension; empty when a mutant has none.
    pub fn file(&self, extension: &str) -> &[u8] {
        let mut files = self.files.iter();
        let file = files.find(|(name, _)| {
            Path::new(name)
                .extension()
                .is_some_and(|is| is == extension)
        });
        file.map_or(&[], |(_, content)| content)
    }

    /// Where [`Self::write`] puts the file with this extension: it is called the same in every package.
    pub fn path(folder: &Path, extension: &str) -> PathBuf {
        folder.join("x").with_extension(extension)
    }

    /// Writes the archive, the disk (`raw`) and each file to a folder of their own.
    pub fn write(&self, folder: &Path) {
        std::fs::create_dir(folder).unwrap();
        let write = |extension, content: &[u8]| {
            std::fs::write(Self::path(folder, extension), content).unwrap();
        };
        write("ova", &self.archive);
        write("raw", &self.disk);
        for extension in ["ovf", "mf", "cert", "vmdk"] {
            write(extension, self.file(extension));
        }
    }
}

/// What a package is made of, in the order in which it is made; a mutant breaks one of them.
#[derive(Debug, Clone, Copy)]
pub enum Break {
    /// The archive's bytes.
    Archive(fn(&mut Vec<u8>)),
    /// The descriptor, before it is digested.
    Descriptor(fn(&str) -> String),
    /// Files and their order, before they are archived and after they were signed.
    Files(fn(&mut Vec<(String, Vec<u8>)>)),
    /// The manifest, before it is signed.
    Manifest(fn(&str) -> String),
    /// Nothing.
    Nothing,
    /// The VMDK, before it is digested.
    Vmdk(fn(&mut Vec<u8>)),
}

/// A small OVA with everything the real one has, and a MAC.
#[derive(Debug)]
pub struct Parts {
    packed: Packed,
    disk: Vec<u8>,
    signer: Option<Signer>,
}

impl Parts {
    /// A disk with a grain at both ends, some that do not compress, and holes.
    pub fn small(is_signed: bool) -> Self {
        let mut disk = vec![0; DISK_MIB * MIB];
        let end = disk.len();
        disk[..11].copy_from_slice(b"a beginning");
        disk[end - 7..].copy_from_slice(b"the end");
        let mut noise = Sha256::digest(b"noise");
        for piece in disk[MIB..2 * MIB].chunks_mut(32) {
            piece.copy_from_slice(&noise);
            noise = Sha256::digest(noise);
        }
        let vmdk = Vmdk::from_disk(&disk, NonZeroUsize::MIN).unwrap();
        let packed = Ova::pack(NAME, &descriptor(), &vmdk, EPOCH, None).unwrap();
        let signer = is_signed.then(signer);
        Self {
            packed,
            disk,
            signer,
        }
    }

    /// The package, made anew from a descriptor or disk that is broken: its other parts are right for it.
    pub fn seal(&self, broken: Break) -> Package {
        let mut vmdk = self.packed.vmdk.clone();
        if let Break::Vmdk(change) = broken {
            change(&mut vmdk);
        }
        let size = |bytes: &[u8]| format!("ovf:size=\"{}\"", bytes.len());
        let mut ovf = String::from_utf8(self.packed.ovf.clone()).unwrap();
        ovf = ovf.replacen(&size(&self.packed.vmdk), &size(&vmdk), 1);
        if let Break::Descriptor(change) = broken {
            ovf = change(&ovf);
        }
        let name = |extension: &str| format!("{NAME}.{extension}");
        let digests = [
            (&*name("ovf"), Sha256::digest(&ovf).into()),
            (&*name("vmdk"), Sha256::digest(&vmdk).into()),
        ];
        let mut mf = manifest::emit(&digests);
        if let Break::Manifest(change) = broken {
            mf = change(&mf);
        }
        let cert = self
            .signer
            .as_ref()
            .map(|signer| signer.sign(&name("mf"), mf.as_bytes()).unwrap());
        let mut files = vec![
            (name("ovf"), ovf.into_bytes()),
            (name("mf"), mf.into_bytes()),
        ];
        files.extend(cert.map(|cert| (name("cert"), cert)));
        files.push((name("vmdk"), vmdk));
        if let Break::Files(change) = broken {
            change(&mut files);
        }
        let entries = files.iter().map(|(name, content)| Entry { name, content });
        let mut archive = tar::emit(&entries.collect::<Vec<_>>(), EPOCH).unwrap();
        if let Break::Archive(change) = broken {
            change(&mut archive);
        }
        Package {
            files,
            archive,
            disk: self.disk.clone(),
            mac: Some(MAC),
        }
    }
}

fn descriptor() -> Descriptor {
    Descriptor {
        name: NAME.into(),
        version: "0.1.0".into(),
        full_version: "0.1.0 (a test)".into(),
        annotation: "One connector: deploy it once.".into(),
        // Filled in when it is packed.
        disk: Disk {
            file_name: String::new(),
            file_bytes: 0,
            capacity_mib: 0,
            populated_bytes: 0,
        },
        mac: Some(MAC),
        cpus: 2,
        memory_mib: 256,
        properties: PROPERTIES
            .iter()
            .map(|property| (property, String::new()))
            .collect(),
    }
}

/// Signs with a key that openssl made for this run.
fn signer() -> Signer {
    static PAIR: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let [key, certificate] = PAIR.get_or_init(|| {
        let folder = TempDir::new("outgate-key").unwrap();
        let [key, certificate] = ["key", "certificate"].map(|name| folder.path().join(name));
        let made = Command::new("openssl")
            .args("req -x509 -newkey rsa:2048 -noenc -days 2 -subj /CN=test -keyout".split(' '))
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        [key, certificate].map(|path| std::fs::read(path).unwrap())
    });
    Signer::from_pem(key, certificate).unwrap()
}
