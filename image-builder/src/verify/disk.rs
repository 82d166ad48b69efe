//! Partition table, slots and boot state of a disk.

use disk_format::SECTOR_BYTES;
use disk_format::gpt::{BACKUP_SECTORS, Gpt};
use disk_format::grubenv::GrubEnv;
use disk_format::slot::{HEADER_BYTES, SlotHeader, SlotName, boot_key, partition};
use ovf::given::Given;
use ovf::mac::MacAddress;
use ovf::name::ConnectorName;
use ovf::property::{EdgeName, PROPERTIES};
use sha2::{Digest as _, Sha256};

use super::report::Report;
use crate::boot_state;
use crate::build::mib;
use crate::disk::{self, Disk as _};
use crate::layout::MIB;
use crate::mint::connector::Group;
use crate::output::hex;

/// Checks `disk`; the boot state when it can be read.
pub(super) fn check(disk: &Vec<u8>, report: &mut Report) -> Option<GrubEnv> {
    let table = report.need(disk::table(disk))?;
    partitions(disk, &table, report);
    let state = report.need(boot_state::read(disk));
    let good = state.as_ref().and_then(|state| state.get(boot_key::GOOD));
    for name in [SlotName::A, SlotName::B] {
        slot(disk, &table, name, good == Some(name.letter()), report);
    }
    state_record(disk, &table, report);
    if let Some(state) = &state {
        boot(state, report);
        minted(state, report);
    }
    state
}

fn partitions(disk: &Vec<u8>, table: &Gpt, report: &mut Report) {
    let list: Vec<String> = table
        .partitions()
        .iter()
        .map(|one| format!("{} {}", one.name, size(one.sectors())))
        .collect();
    report.say(&format!("partitions: {}", list.join(", ")));
    let backup_bytes = BACKUP_SECTORS * SECTOR_BYTES;
    let table_bytes = table.disk_sectors().saturating_mul(SECTOR_BYTES);
    let backup = disk
        .read_at(
            table_bytes.saturating_sub(backup_bytes),
            usize::try_from(backup_bytes).unwrap_or(usize::MAX),
        )
        .ok()
        .and_then(|bytes| Gpt::parse_backup(&bytes, table.disk_sectors()).ok());
    report.check(
        backup.as_ref() == Some(table),
        "partition table: both copies are whole and equal",
    );
    if let Some(more @ 1..) = disk.capacity_bytes().checked_sub(table_bytes) {
        report.say(&format!(
            "the disk is longer than its partition table says, by {}: it was grown",
            size(more / SECTOR_BYTES)
        ));
    }
}

fn slot(disk: &Vec<u8>, table: &Gpt, name: SlotName, is_good: bool, report: &mut Report) {
    let Some(partition) = table.find(name.partition()) else {
        return report.wrong(&format!("slot {name}: there is no such partition"));
    };
    let (offset, length) = disk::extent(partition);
    let content = match disk.read_at(offset, length) {
        Ok(content) => content,
        Err(error) => return report.wrong(&format!("slot {name}: {error}")),
    };
    if content.iter().all(|byte| *byte == 0) {
        let text = format!("slot {name}: empty");
        return if is_good {
            report.wrong(&format!("{text}, and it is the one to boot"))
        } else {
            report.say(&text)
        };
    }
    let header = match SlotHeader::parse(&content, partition.sectors()) {
        Ok(header) => header,
        Err(error) => return report.wrong(&format!("slot {name}: {error}")),
    };
    let used = usize::try_from(header.used_bytes()).unwrap_or(usize::MAX);
    let digest: Option<[u8; 32]> = content
        .get(HEADER_BYTES..used)
        .map(|used| Sha256::digest(used).into());
    let about = format!(
        "slot {name}: version {}, {}, sha256",
        header.version,
        mib(used)
    );
    let wanted = hex(&header.content_sha256);
    match digest {
        Some(digest) if digest == header.content_sha256 => {
            report.good(&format!("{about} {wanted}"))
        }
        Some(digest) => report.wrong(&format!(
            "{about} {}, and its header says {wanted}",
            hex(&digest)
        )),
        None => report.wrong(&format!("{about} {wanted}, but the slot ends before")),
    }
}

fn state_record(disk: &Vec<u8>, table: &Gpt, report: &mut Report) {
    let Some(partition) = table.find(partition::STATE) else {
        return report.wrong("state record: there is no such partition");
    };
    let (offset, length) = disk::extent(partition);
    match disk.read_at(offset, length) {
        Ok(content) if content.iter().all(|byte| *byte == 0) => {
            report.say("state record: empty, not enrolled");
        }
        Ok(_) => report.say(
            "state record: in use. This disk belongs to a machine that ran; a copy of it is a copy \
             of that connector",
        ),
        Err(error) => report.wrong(&format!("state record: {error}")),
    }
}

fn boot(state: &GrubEnv, report: &mut Report) {
    let get = |key| state.get(key).unwrap_or_default();
    let (good, trial, left) = (
        get(boot_key::GOOD),
        get(boot_key::TRIAL),
        get(boot_key::LEFT),
    );
    let is_left = matches!(left, "0" | "1" | "2" | "3");
    let is_trial = trial.is_empty() || SlotName::of(trial).is_some();
    let text = if trial.is_empty() {
        format!("boot state: good {good:?}, no trial")
    } else {
        format!("boot state: good {good:?}, trial {trial:?}, {left:?} attempts left")
    };
    report.check(SlotName::of(good).is_some() && is_trial && is_left, &text);
}

fn minted(state: &GrubEnv, report: &mut Report) {
    let is_minted = boot_state::minted_keys().any(|key| state.get(key).is_some());
    if !is_minted {
        return report.say("not minted: no name and no MAC address of its own");
    }
    for (key, what, is_valid) in [
        (
            boot_key::NAME,
            "name",
            is::<ConnectorName> as fn(&str) -> bool,
        ),
        (boot_key::MAC, "MAC address", is::<MacAddress>),
        (boot_key::EDGE, "service edge", is::<EdgeName>),
        (boot_key::GROUP, "connector group", is::<Group>),
    ] {
        match state.get(key) {
            Some(value) if is_valid(value) => report.good(&format!("minted {what}: {value}")),
            Some(value) => report.wrong(&format!("minted {what}: {value:?} is none")),
            None if key == boot_key::NAME || key == boot_key::MAC => {
                report.wrong(&format!("minted without a {what}"));
            }
            None => {}
        }
    }
    settings(state, report);
}

/// The minted settings: each is one, and they hold together.
fn settings(state: &GrubEnv, report: &mut Report) {
    let mut given = Given::default();
    for property in PROPERTIES {
        let key = property.key_in_class();
        let is_setting = boot_key::SETTINGS.contains(&key);
        if let Some(text) = state.get(key).filter(|_| is_setting) {
            given.take(property, text);
        }
    }
    for (property, value) in &given.values {
        report.good(&format!("minted {}: {value}", property.key_in_class()));
    }
    let (_, complaints) = ovf::settings::settings(given);
    for complaint in complaints {
        report.wrong(&format!("minted {complaint}"));
    }
}

fn is<T: std::str::FromStr>(text: &str) -> bool {
    text.parse::<T>().is_ok()
}

fn size(sectors: u64) -> String {
    let bytes = sectors.saturating_mul(SECTOR_BYTES);
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{bytes} bytes")
    }
}
