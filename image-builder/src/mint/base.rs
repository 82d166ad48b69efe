//! The image that is minted from, and the files that are made of it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use disk_format::grubenv::GrubEnv;
use disk_format::qcow2;
use ovf::descriptor::Descriptor;
use sha2::{Digest as _, Sha256};

use crate::boot_state;
use crate::mint::connector::Connector;
use crate::mint::domain;
use crate::mint::error::MintError;
use crate::mint::ledger::ImageDigest;
use crate::mint::sheet::{self, FileFacts};
use crate::output::{Artefact, sha256_hex};
use crate::ova::Ova;
use crate::sign::Signer;

/// An image for no connector in particular, opened to be minted from many times.
#[derive(Debug)]
pub struct Base {
    ova: Ova,
    /// The disk, inflated: what becomes a qcow2.
    disk: Vec<u8>,
    /// The boot state of both, as the builder wrote it.
    boot_state: GrubEnv,
    digest: ImageDigest,
}

impl Base {
    /// Opens the OVA at `path`.
    ///
    /// # Errors
    /// When it is missing, is damaged, or was minted already.
    pub fn load(path: &Path) -> Result<Self, MintError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(MintError::BaseMissing { path: path.into() });
            }
            Err(error) => return Err(MintError::file(path)(error)),
        };
        let ova = Ova::parse(&bytes).map_err(MintError::damaged(path))?;
        let disk = ova.vmdk.to_disk().map_err(MintError::damaged(path))?;
        let boot_state = boot_state::read(&disk).map_err(MintError::damaged(path))?;
        if let Some(name) = boot_state::minted_keys().find_map(|key| boot_state.get(key)) {
            return Err(MintError::BaseMinted {
                path: path.into(),
                name: name.into(),
            });
        }
        Ok(Self {
            ova,
            disk,
            boot_state,
            digest: ImageDigest(Sha256::digest(&bytes).into()),
        })
    }

    /// The SHA-256 of the OVA.
    #[must_use]
    pub const fn digest(&self) -> ImageDigest {
        self.digest
    }

    /// The files of `connector`. They depend on the image, the connector and the signer alone, not
    /// on what was minted before.
    ///
    /// # Errors
    /// When the boot state does not fit into its place, or the OVA cannot be signed.
    pub fn mint(
        &mut self,
        connector: &Connector,
        signer: Option<&Signer>,
    ) -> Result<Vec<Artefact>, MintError> {
        let state = self.boot_state_of(connector)?;
        // The whole block is replaced, so nothing of an earlier connector stays.
        boot_state::write(&mut self.disk, &state).map_err(MintError::format)?;
        boot_state::write(&mut self.ova.vmdk, &state).map_err(MintError::format)?;

        let name = connector.name.as_str();
        let descriptor = self.descriptor_of(connector);
        let packed = Ova::pack(name, &descriptor, &self.ova.vmdk, self.ova.epoch, signer)
            .map_err(MintError::format)?;
        let mut files = vec![
            file(name, "ova", packed.ova),
            file(
                name,
                "qcow2",
                qcow2::emit(&self.disk).map_err(MintError::format)?,
            ),
            file(name, "xml", domain::xml(connector).into_bytes()),
        ];
        let facts: Vec<FileFacts> = files.iter().map(facts).collect();
        let page = sheet::text(connector, &descriptor.full_version, &facts);
        files.push(file(name, "txt", page.into_bytes()));
        Ok(files)
    }

    fn boot_state_of(&self, connector: &Connector) -> Result<GrubEnv, MintError> {
        let mut state = self.boot_state.clone();
        for (key, value) in connector.minted_values() {
            state.set(key, &value).map_err(MintError::format)?;
        }
        Ok(state)
    }

    fn descriptor_of(&self, connector: &Connector) -> Descriptor {
        let mut descriptor = Descriptor {
            name: connector.name.to_string(),
            annotation: annotation(connector),
            mac: Some(connector.mac),
            ..self.ova.descriptor.clone()
        };
        let minted = connector.minted_values();
        for (property, value) in &mut descriptor.properties {
            let mut known = minted.iter();
            if let Some((_, known)) = known.find(|(key, _)| *key == property.key_in_class()) {
                value.clone_from(known);
            }
        }
        descriptor
    }
}

/// What vSphere shows as the machine's notes.
fn annotation(connector: &Connector) -> String {
    let Connector {
        name, mac, group, ..
    } = connector;
    let group = group
        .as_ref()
        .map_or_else(String::new, |group| format!(" of group {group}"));
    format!(
        "Outgate connector {name}{group}. Deploy once: this image is for the MAC address {mac}, \
         which the network adapter must have (Manual). For another connector, mint another image. \
         Type the provisioning key on the console."
    )
}

fn file(name: &str, extension: &str, content: Vec<u8>) -> Artefact {
    Artefact {
        name: format!("{name}.{extension}"),
        content,
    }
}

fn facts(file: &Artefact) -> FileFacts {
    FileFacts {
        name: file.name.clone(),
        sha256: sha256_hex(&file.content),
    }
}
