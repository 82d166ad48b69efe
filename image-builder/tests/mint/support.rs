//! A small image to mint from, and one folder for each test.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;

use disk_format::gpt::BOOT_CODE_BYTES;
use disk_format::grubenv::GrubEnv;
use disk_format::vmdk::Vmdk;
use image_builder::boot_state;
use image_builder::date::Date;
use image_builder::layout::layout;
use image_builder::mint::ledger::Ledger;
use image_builder::mint::options::Options;
use image_builder::mint::plan::Request;
use image_builder::mint::{MintError, Minted};
use image_builder::ova::Ova;
use image_builder::recipe::{BOOT_STATE, PARTITIONS};
use ovf::descriptor::{Descriptor, Disk};
use ovf::property::PROPERTIES;

/// A folder with an image, that is gone when this is dropped.
pub struct Bench(PathBuf);

impl Bench {
    /// Makes one whose path contains `name`, which is unique among the tests.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("outgate-mint-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("outgate.ova"), base_ova()).unwrap();
        Self(path)
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What a person asks for who names `name` and nothing else.
    pub fn options(&self, name: &str) -> Options {
        Options {
            request: Request {
                name: name.parse().unwrap(),
                count: 1,
                group: None,
                mac: None,
                edge: None,
                network: image_builder::mint::settings::NetworkSettings::default(),
            },
            from: self.path("outgate.ova"),
            out: self.path("out"),
            ledger: self.path("ledger"),
            sign: None,
        }
    }

    /// The ledger.
    pub fn ledger(&self) -> Ledger {
        Ledger::parse(&fs::read(self.path("ledger")).unwrap()).unwrap()
    }

    /// What is in the output folder, sorted.
    pub fn written(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("out")) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A file of the output folder.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("out").join(name)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Mints on 2026-11-01.
pub fn mint(options: &Options) -> Result<Vec<Minted>, MintError> {
    let mut all = Vec::new();
    let day = Date::from_unix(1_793_491_200);
    image_builder::mint::mint(options, day, &mut |minted| all.push(minted))?;
    Ok(all)
}

/// An image like the builder's, but for what runs in it: no connector is needed to be minted.
pub fn base_ova() -> &'static [u8] {
    static OVA: OnceLock<Vec<u8>> = OnceLock::new();
    OVA.get_or_init(|| pack(&base_disk()))
}

/// An OVA of `disk`.
pub fn pack(disk: &[u8]) -> Vec<u8> {
    let vmdk = Vmdk::from_disk(disk, NonZeroUsize::MIN).unwrap();
    let descriptor = Descriptor {
        name: "outgate".into(),
        version: "0.1.0".into(),
        full_version: "0.1.0 (test)".into(),
        annotation: "An image for no connector.".into(),
        disk: Disk {
            file_name: "outgate.vmdk".into(),
            file_bytes: 0,
            capacity_mib: 1,
            populated_bytes: 0,
        },
        mac: None,
        cpus: 1,
        memory_mib: 256,
        properties: PROPERTIES
            .iter()
            .map(|property| (property, String::new()))
            .collect(),
    };
    let packed = Ova::pack("outgate", &descriptor, &vmdk, 1_700_000_000, None).unwrap();
    packed.ova
}

/// Its disk: a partition table, the boot state, and some bytes in the first slot.
pub fn base_disk() -> Vec<u8> {
    let layout = layout(PARTITIONS).unwrap();
    let table = layout.table.emit(&[0; BOOT_CODE_BYTES]);
    let mut disk = vec![0; usize::try_from(layout.disk_bytes).unwrap()];
    let backup_at = disk.len() - table.backup.len();
    disk[..table.primary.len()].copy_from_slice(&table.primary);
    disk[backup_at..].copy_from_slice(&table.backup);
    let mut state = GrubEnv::new();
    for (key, value) in BOOT_STATE {
        state.set(key, value).unwrap();
    }
    boot_state::write(&mut disk, &state).unwrap();
    for (index, byte) in disk[11 << 20..12 << 20].iter_mut().enumerate() {
        *byte = u8::try_from(index * 31 % 251).unwrap();
    }
    disk
}

/// The file called `name` of `minted`.
pub fn content<'a>(minted: &'a Minted, name: &str) -> &'a [u8] {
    let file = minted.files.iter().find(|file| file.name == name);
    &file.unwrap().content
}
