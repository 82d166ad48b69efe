//! Descriptor, manifest and signature of an OVA.

use disk_format::grubenv::GrubEnv;
use disk_format::slot::boot_key;
use ovf::descriptor::Descriptor;

use super::report::Report;
use crate::build::mib;
use crate::ova::Ova;
use crate::sign;

/// Reports on an OVA that could be read: its digests hold, its references lead somewhere.
pub(super) fn ova(ova: &Ova, report: &mut Report) {
    report.good("archive: descriptor, manifest, disk in this order");
    report.good("manifest: every digest holds");
    match &ova.certificate {
        None => report.say("not signed"),
        Some(file) => signature(ova, file, report),
    }
    descriptor(&ova.descriptor, report);
    report.good("disk: as the descriptor says, and a stream to its end");
}

fn signature(ova: &Ova, file: &[u8], report: &mut Report) {
    match sign::verify(file, &format!("{}.mf", ova.name), &ova.manifest) {
        Ok(signature) => report.good(&format!("signature: {signature}")),
        Err(error) => report.wrong(&format!("signature: {error}")),
    }
}

/// Reports on a descriptor that could be read.
pub(super) fn descriptor(descriptor: &Descriptor, report: &mut Report) {
    let Descriptor {
        name,
        full_version,
        cpus,
        memory_mib,
        disk,
        ..
    } = descriptor;
    report.say(&format!(
        "machine {name:?}, version {full_version}, {cpus} processor, {memory_mib} MiB of memory"
    ));
    report.say(&format!(
        "disk {} of {} MiB, {} of them in use",
        disk.file_name,
        disk.capacity_mib,
        mib(usize::try_from(disk.populated_bytes).unwrap_or(usize::MAX))
    ));
    match descriptor.mac {
        Some(mac) => report.say(&format!("MAC address pinned in the descriptor: {mac}")),
        None => report.say("no MAC address pinned in the descriptor: the hypervisor chooses one"),
    }
}

/// Checks that the descriptor and the disk are about one connector.
pub(super) fn same_identity(descriptor: &Descriptor, state: Option<&GrubEnv>, report: &mut Report) {
    let Some(state) = state else { return };
    let pinned = descriptor.mac.map(|mac| mac.to_string());
    let minted = state.get(boot_key::MAC);
    let said = |mac: Option<&str>| mac.unwrap_or("none").to_owned();
    if pinned.is_some() || minted.is_some() {
        report.check(
            pinned.as_deref() == minted,
            &format!(
                "MAC address: {} in the descriptor, {} on the disk",
                said(pinned.as_deref()),
                said(minted)
            ),
        );
    }
    if let Some(name) = state.get(boot_key::NAME) {
        report.check(
            descriptor.name == name,
            &format!(
                "name: {:?} in the descriptor, {name:?} on the disk",
                descriptor.name
            ),
        );
    }
    for (property, value) in &descriptor.properties {
        let what = match property.key {
            "outgate.edge" => "service edge",
            "outgate.mac" => "MAC address",
            "outgate.name" => "name",
            _ => property.key_in_class(),
        };
        if !value.is_empty() {
            let on_disk = state.get(property.key_in_class());
            report.check(
                on_disk == Some(value.as_str()),
                &format!(
                    "{what}: {value} in the descriptor's properties, {} on the disk",
                    said(on_disk)
                ),
            );
        }
    }
}
