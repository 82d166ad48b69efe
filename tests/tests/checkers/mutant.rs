//! What can be wrong with an OVA, one thing at a time, and who notices.
//!
//! The table says as much about the checkers as about the OVA: qemu-img and virt-v2v take a disk that ends as qemu-img
//! ends its own, without footer and end-of-stream marker; the schema takes references that lead nowhere; the simulator
//! takes any MAC, and virt-v2v repeats any.

use crate::package::Break;

/// One thing that is wrong.
#[derive(Debug)]
pub struct Mutant {
    /// What.
    pub name: &'static str,
    /// How it is made.
    pub broken: Break,
    /// Names of the checkers that notice. No other does.
    pub noticed_by: &'static [&'static str],
}

impl Mutant {
    /// Whether that checker notices.
    pub fn is_noticed_by(&self, checker: &str) -> bool {
        self.noticed_by.contains(&checker)
    }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    // Order.
    descriptor(
        "children of an Item in another order",
        |text| {
            exchange(
                text,
                "<rasd:InstanceID>4</rasd:InstanceID>",
                "<rasd:Parent>3</rasd:Parent>",
            )
        },
        &["xmllint", "descriptor", "ova"],
    ),
    descriptor(
        "DiskSection after VirtualSystem",
        disks_last,
        &["xmllint", "descriptor", "ova"],
    ),
    of(
        "manifest before the descriptor",
        Break::Files(|files| files.swap(0, 1)),
        &["govmomi", "tar", "ova"],
    ),
    of(
        "disk before the manifest",
        Break::Files(disk_second),
        &["tar", "ova"],
    ),
    vmdk(
        "two grains in each other's place",
        |file| exchange_grains(file),
        &["stream walk", "ova"],
    ),
    // References.
    descriptor(
        "disk in a file that is not there",
        |text| once(text, "ovf:fileRef=\"file1\"", "ovf:fileRef=\"file2\""),
        &["descriptor", "virt-v2v", "govmomi", "ova"],
    ),
    descriptor(
        "hard disk that is not there",
        |text| once(text, "ovf:/disk/vmdisk1", "ovf:/disk/vmdisk2"),
        &["descriptor", "virt-v2v", "govmomi", "ova"],
    ),
    descriptor(
        "hard disk on a controller that is not there",
        |text| once(text, "<rasd:Parent>3<", "<rasd:Parent>9<"),
        &["descriptor", "virt-v2v", "govmomi", "ova"],
    ),
    descriptor(
        "card on a network that is not there",
        |text| {
            once(
                text,
                "<rasd:Connection>VM Network<",
                "<rasd:Connection>VM Netz<",
            )
        },
        &["descriptor", "virt-v2v", "ova"],
    ),
    descriptor(
        "two Items of one InstanceID",
        |text| once(text, "<rasd:InstanceID>5<", "<rasd:InstanceID>4<"),
        &["descriptor", "ova"],
    ),
    of(
        "disk missing in the archive",
        Break::Files(|files| drop(files.pop())),
        NO_DISK,
    ),
    // The MAC.
    descriptor(
        "MAC of five octets",
        |text| mac(text, "00:50:56:01:02"),
        MAC,
    ),
    descriptor(
        "MAC of a multicast group",
        |text| mac(text, "01:50:56:01:02:03"),
        MAC,
    ),
    descriptor(
        "MAC that vSphere refuses",
        |text| mac(text, "00:50:56:40:02:03"),
        MAC,
    ),
    descriptor(
        "MAC of another connector",
        |text| mac(text, "00:50:56:01:02:04"),
        MAC,
    ),
    // Capacity and size.
    vmdk(
        "capacity one grain larger",
        |file| capacity(file, 128),
        &["govmomi", "qemu-img compare", "stream walk", "ova"],
    ),
    vmdk(
        "capacity one grain smaller",
        |file| capacity(file, -128),
        &["govmomi", "qemu-img compare", "stream walk", "ova"],
    ),
    descriptor(
        "capacity one MiB larger in the descriptor",
        |text| once(text, "ovf:capacity=\"4\"", "ovf:capacity=\"5\""),
        &["govmomi", "ova"],
    ),
    descriptor(
        "file one byte longer in the descriptor",
        longer_file,
        &["govmomi", "ova"],
    ),
    // Other values.
    descriptor(
        "SCSI controller of no known kind",
        |text| once(text, ">VirtualSCSI<", ">VirtualScuzzy<"),
        &["descriptor", "govmomi", "ova"],
    ),
    descriptor(
        "firmware BIOS",
        |text| once(text, "vmw:value=\"efi\"", "vmw:value=\"bios\""),
        &["descriptor", "virt-v2v", "ova"],
    ),
    descriptor(
        "prefix that is not declared",
        |text| once(text, " xmlns:vssd=\"", " xmlns:other=\""),
        &["xmllint", "descriptor", "ova"],
    ),
    descriptor(
        "element that is not closed",
        |text| once(text, "</Envelope>", ""),
        &["xmllint", "descriptor", "virt-v2v", "govmomi", "ova"],
    ),
    // Digests and signatures.
    of(
        "wrong digest of the descriptor",
        Break::Manifest(|text| digit(text, "ovf)= ")),
        &["virt-v2v", "sha256sum", "ova"],
    ),
    of(
        "wrong digest of the disk",
        Break::Manifest(|text| digit(text, "vmdk)= ")),
        &["virt-v2v", "sha256sum", "ova"],
    ),
    of(
        "disk without a digest",
        Break::Manifest(|text| text.split_inclusive('\n').take(1).collect()),
        &["sha256sum", "ova"],
    ),
    of(
        "manifest changed after it was signed",
        Break::Files(exchange_digests),
        &["openssl", "ova"],
    ),
    of(
        "signature of something else",
        Break::Files(other_signature),
        &["openssl", "ova"],
    ),
    // The VMDK.
    vmdk(
        "no end-of-stream marker",
        |file| file.truncate(file.len() - SECTOR),
        NO_END,
    ),
    vmdk(
        "no footer and no end",
        |file| file.truncate(file.len() - 3 * SECTOR),
        NO_END,
    ),
    vmdk(
        "end as qemu-img writes it, with nothing behind the directory",
        directory_last,
        &["stream walk", "ova"],
    ),
    vmdk(
        "grain table that points behind the file",
        |file| first_entry(file, 0x00ff_ffff),
        &["qemu-img check", "qemu-img compare", "stream walk", "ova"],
    ),
    vmdk(
        "grain that its table does not have",
        |file| first_entry(file, 0),
        &["qemu-img compare", "stream walk", "ova"],
    ),
    vmdk(
        "grain whose bytes are damaged",
        |file| damage(file),
        &["qemu-img compare", "stream walk", "ova"],
    ),
    vmdk("byte after the end", |file| file.push(0), NO_END),
    // The archive.
    of(
        "header with a wrong checksum",
        Break::Archive(|file| file[148] ^= 1),
        UNREADABLE_ARCHIVE,
    ),
    of(
        "file of a user",
        Break::Archive(|file| of_a_user(file)),
        &["tar", "ova"],
    ),
    of(
        "archive without its end",
        Break::Archive(|file| file.truncate(file.len() - 2 * SECTOR)),
        &["ova"],
    ),
];

const MAC: &[&str] = &["descriptor", "virt-v2v", "ova"];
/// Everybody who looks for the disk.
const NO_DISK: &[&str] = &[
    "virt-v2v",
    "govmomi",
    "qemu-img check",
    "qemu-img compare",
    "stream walk",
    "tar",
    "sha256sum",
    "ova",
];
/// A footer is three sectors before the end of the file, or it is none: whoever opens the disk sees it.
const NO_END: &[&str] = &[
    "virt-v2v",
    "qemu-img check",
    "qemu-img compare",
    "stream walk",
    "ova",
];
const UNREADABLE_ARCHIVE: &[&str] = &["virt-v2v", "govmomi", "tar", "sha256sum", "ova"];

const SECTOR: usize = 512;
/// Where a VMDK's header has its capacity, in sectors.
const CAPACITY_AT: usize = 12;
/// Where a VMDK's header and footer have the first sector of the grain directory.
const DIRECTORY_AT: usize = 56;
/// Where the first grain is.
const GRAINS_AT: usize = 128 * SECTOR;
/// What precedes the zlib stream of a grain: its LBA and its length.
const GRAIN_HEAD: usize = 12;
/// The type of the marker before a grain table.
const GRAIN_TABLE: u32 = 1;

/// `text` with `from`, which it has once, become `to`.
fn once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
    text.replace(from, to)
}

fn exchange(text: &str, one: &str, other: &str) -> String {
    let held = once(&once(text, one, "HELD"), other, one);
    once(&held, "HELD", other)
}

fn mac(text: &str, to: &str) -> String {
    once(text, &crate::package::MAC.to_string(), to)
}

fn disks_last(text: &str) -> String {
    let (before, rest) = text.split_once("<DiskSection>").unwrap();
    let (disks, after) = rest.split_once("</DiskSection>").unwrap();
    let to = format!("</VirtualSystem><DiskSection>{disks}</DiskSection>");
    once(&format!("{before}{after}"), "</VirtualSystem>", &to)
}

fn longer_file(text: &str) -> String {
    let (before, rest) = text.split_once("ovf:size=\"").unwrap();
    let (size, after) = rest.split_once('"').unwrap();
    let size: u64 = size.parse().unwrap();
    format!("{before}ovf:size=\"{}\"{after}", size + 1)
}

/// Another hex digit right behind `place`.
fn digit(text: &str, place: &str) -> String {
    let at = text.find(place).unwrap() + place.len();
    let other = if text[at..].starts_with('0') {
        "1"
    } else {
        "0"
    };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

type Files = Vec<(String, Vec<u8>)>;

fn disk_second(files: &mut Files) {
    let disk = files.pop().unwrap();
    files.insert(1, disk);
}

fn exchange_digests(files: &mut Files) {
    let (_, manifest) = &mut files[1];
    let text = String::from_utf8(manifest.clone()).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    *manifest = format!("{second}{first}\n").into_bytes();
}

fn other_signature(files: &mut Files) {
    let (_, certificate) = &mut files[2];
    let text = String::from_utf8(certificate.clone()).unwrap();
    *certificate = digit(&text, "mf)= ").into_bytes();
}

/// The capacity in header, descriptor and footer, all three.
fn capacity(file: &mut [u8], more: i64) {
    let sectors = u64::from_le_bytes(file[CAPACITY_AT..][..8].try_into().unwrap());
    let other = sectors.checked_add_signed(more).unwrap();
    let footer_at = file.len() - 2 * SECTOR;
    for at in [CAPACITY_AT, footer_at + CAPACITY_AT] {
        file[at..][..8].copy_from_slice(&other.to_le_bytes());
    }
    let line = format!("RDONLY {sectors} ");
    let at = file
        .windows(line.len())
        .position(|bytes| bytes == line.as_bytes())
        .unwrap();
    file[at..][..line.len()].copy_from_slice(format!("RDONLY {other} ").as_bytes());
}

/// The header says where the directory is, so the footer is not needed to find it; footer and end are gone. The file
/// is whole for those who seek, and has no end for those who cannot.
fn directory_last(file: &mut Vec<u8>) {
    let footer_at = file.len() - 2 * SECTOR;
    let directory: [u8; 8] = file[footer_at + DIRECTORY_AT..][..8].try_into().unwrap();
    file[DIRECTORY_AT..][..8].copy_from_slice(&directory);
    file.truncate(footer_at - SECTOR);
}

/// The second grain says that it is where the third is, and the other way round.
fn exchange_grains(file: &mut [u8]) {
    let second = next(file, GRAINS_AT);
    let third = next(file, second);
    for at in 0..8 {
        file.swap(second + at, third + at);
    }
}

/// A byte in the middle of the second grain, which does not compress.
fn damage(file: &mut [u8]) {
    file[next(file, GRAINS_AT) + GRAIN_HEAD + 30_000] ^= 1;
}

/// The first entry of the first grain table.
fn first_entry(file: &mut [u8], to: u32) {
    let mut at = GRAINS_AT;
    while word(file, at + 8) != 0 {
        at = next(file, at);
    }
    assert_eq!(word(file, at + GRAIN_HEAD), GRAIN_TABLE);
    assert_ne!(word(file, at + SECTOR), 0);
    file[at + SECTOR..][..4].copy_from_slice(&to.to_le_bytes());
}

/// Where what follows the grain at `at` is.
fn next(file: &[u8], at: usize) -> usize {
    let length = usize::try_from(word(file, at + 8)).unwrap();
    (at + GRAIN_HEAD + length).next_multiple_of(SECTOR)
}

fn word(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..][..4].try_into().unwrap())
}

/// The first file is user 1000's, and its header's checksum is right for it.
fn of_a_user(archive: &mut [u8]) {
    archive[108..115].copy_from_slice(b"0001750");
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..SECTOR].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

const fn descriptor(
    name: &'static str,
    change: fn(&str) -> String,
    noticed_by: &'static [&'static str],
) -> Mutant {
    of(name, Break::Descriptor(change), noticed_by)
}

const fn vmdk(
    name: &'static str,
    change: fn(&mut Vec<u8>),
    noticed_by: &'static [&'static str],
) -> Mutant {
    of(name, Break::Vmdk(change), noticed_by)
}

const fn of(name: &'static str, broken: Break, noticed_by: &'static [&'static str]) -> Mutant {
    Mutant {
        name,
        broken,
        noticed_by,
    }
}
