//! Kernel and initramfs become the content of a system slot.

use disk_format::SECTOR_BYTES;
use disk_format::cpio::{self, Entry, Node};
use disk_format::slot::{Extent, HEADER_BYTES, SlotHeader};
use ovf::property::EdgeName;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::recipe::{FileSpec, Source, build_facts};

/// What the initramfs is made from besides the recipe.
#[derive(Debug, Clone)]
pub struct System {
    /// Version shown on the console.
    pub version: String,
    /// The build's one time stamp, seconds since 1970; also the floor of the guest's clock.
    pub epoch: u32,
    /// The edge of an image that is made for one site.
    pub edge: Option<EdgeName>,
    /// Executables by name.
    pub binaries: Vec<(&'static str, Vec<u8>)>,
    /// The bzImage.
    pub kernel: Vec<u8>,
}

/// The initramfs of `files` for `system`, as a zstd frame.
///
/// # Errors
/// When the recipe names a program that `system` does not have, or paths that make no tree.
pub fn initramfs(files: &[FileSpec], system: &System) -> Result<Vec<u8>, Error> {
    let mut entries = Vec::new();
    for spec in files {
        if let Some(node) = node(spec, system)? {
            entries.push(Entry {
                path: spec.path.into(),
                permissions: spec.permissions,
                node,
            });
        }
    }
    let archive = cpio::emit(&entries, system.epoch).map_err(Error::format)?;
    zstd::bulk::compress(&archive, ZSTD_LEVEL).map_err(Error::format)
}

/// A slot's used bytes: header, kernel and initramfs, each padded to a whole sector.
///
/// # Errors
/// When the version does not fit into the header.
pub fn slot(version: &str, kernel: &[u8], initramfs: &[u8]) -> Result<Vec<u8>, Error> {
    let mut slot = vec![0; HEADER_BYTES];
    let kernel = append(&mut slot, kernel);
    let initrd = append(&mut slot, initramfs);
    let content_sha256 = Sha256::digest(&slot[HEADER_BYTES..]).into();
    let header = SlotHeader {
        kernel,
        initrd,
        version: version.into(),
        content_sha256,
    };
    slot[..HEADER_BYTES].copy_from_slice(&header.emit().map_err(Error::format)?);
    Ok(slot)
}

/// What is at a path; nothing when this image goes without it.
fn node(spec: &FileSpec, system: &System) -> Result<Option<Node>, Error> {
    Ok(Some(match spec.source {
        Source::Binary(name) => {
            let binary = system.binaries.iter().find(|(binary, _)| *binary == name);
            let (_, content) = binary.ok_or_else(|| Error::BinaryMissing { path: name.into() })?;
            Node::File(content.clone())
        }
        Source::BuildFacts => Node::File(build_facts(&system.version, system.epoch).into()),
        Source::CharDevice(major, minor) => Node::CharDevice { major, minor },
        Source::Directory => Node::Directory,
        Source::Edge => match &system.edge {
            Some(edge) => Node::File(format!("{edge}\n").into()),
            None => return Ok(None),
        },
        Source::Symlink(target) => Node::Symlink(target.into()),
    }))
}

/// Appends `content` and zeros up to the next sector. The kernel skips zeros behind the
/// initramfs, and GRUB reads as much of the kernel as its header says.
fn append(slot: &mut Vec<u8>, content: &[u8]) -> Extent {
    let sector = |bytes: usize| bytes as u64 / SECTOR_BYTES;
    let start = sector(slot.len());
    slot.extend_from_slice(content);
    slot.resize(slot.len().next_multiple_of(SECTOR), 0);
    Extent {
        start,
        sectors: sector(slot.len()) - start,
    }
}

const SECTOR: usize = 512;
/// The highest level whose window the kernel's unpacker is sure to take; one thread, so that the
/// bytes do not depend on the number of cores.
const ZSTD_LEVEL: i32 = 19;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::INITRAMFS;

    #[test]
    fn a_slot_says_where_its_parts_are_and_what_they_hash_to() {
        let slot = slot("0.1.0", &[1; 1000], &[2; 100]).unwrap();
        assert_eq!(slot.len(), 4096 + 1024 + 512);
        let header = SlotHeader::parse(&slot, 65_536).unwrap();
        assert_eq!(
            header.kernel,
            Extent {
                start: 8,
                sectors: 2
            }
        );
        assert_eq!(
            header.initrd,
            Extent {
                start: 10,
                sectors: 1
            }
        );
        assert_eq!(header.used_bytes(), slot.len() as u64);
        let digest: [u8; 32] = Sha256::digest(&slot[4096..]).into();
        assert_eq!(header.content_sha256, digest);
    }

    #[test]
    fn the_initramfs_unpacks_to_the_recipe() {
        let archive = zstd::bulk::decompress(&initramfs(INITRAMFS, &system()).unwrap(), 1 << 20);
        let (entries, mtime) = cpio::parse(&archive.unwrap()).unwrap();
        assert_eq!(mtime, 1_700_000_000);
        // All but the edge, which this image goes without.
        assert_eq!(entries.len(), INITRAMFS.len() - 1);
        let at = |path: &str| entries.iter().find(|entry| entry.path == path).unwrap();
        assert_eq!(at("init").node, Node::File(b"init's code".to_vec()));
        assert_eq!(
            at("dev/console").node,
            Node::CharDevice { major: 5, minor: 1 }
        );
        let facts = Node::File(b"version=0.1.0\nepoch=1700000000\n".to_vec());
        assert_eq!(at("etc/outgate/build").node, facts);
    }

    #[test]
    fn an_edge_given_to_the_builder_is_in_the_image_with_its_port() {
        let system = System {
            edge: Some("Edge.example.com".parse().unwrap()),
            ..system()
        };
        let archive = zstd::bulk::decompress(&initramfs(INITRAMFS, &system).unwrap(), 1 << 20);
        let (entries, _) = cpio::parse(&archive.unwrap()).unwrap();
        let edge = entries
            .iter()
            .find(|entry| entry.path == "etc/outgate/edge")
            .unwrap();
        assert_eq!(edge.node, Node::File(b"edge.example.com:443\n".to_vec()));
    }

    #[test]
    fn a_missing_program_is_named() {
        let system = System {
            binaries: vec![("init", vec![])],
            ..system()
        };
        let error = initramfs(INITRAMFS, &system).unwrap_err();
        assert!(matches!(error, Error::BinaryMissing { path } if path.ends_with("connector")));
    }

    fn system() -> System {
        System {
            version: "0.1.0".into(),
            epoch: 1_700_000_000,
            edge: None,
            binaries: ["connector", "console", "init"]
                .map(|name| (name, format!("{name}'s code").into_bytes()))
                .into(),
            kernel: vec![],
        }
    }
}
