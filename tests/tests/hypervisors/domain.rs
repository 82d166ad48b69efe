//! The minted libvirt domain, with what this computer has in place of what a virtualisation host has.

use std::net::SocketAddrV4;
use std::path::Path;

/// The domain on QEMU's translator instead of KVM, with this disk, and with its network card plugged in
/// at `network`.
///
/// # Panics
/// When one of those is not in the domain exactly once.
pub fn for_this_computer(xml: &str, disk: &Path, network: SocketAddrV4) -> String {
    let xml = replaced(xml, "<domain type='kvm'>", "<domain type='qemu'>");
    let file_name = disk.file_name().unwrap_or_default().display();
    let installed = format!("<source file='/var/lib/libvirt/images/{file_name}'/>");
    let xml = replaced(
        &xml,
        &installed,
        &format!("<source file='{}'/>", disk.display()),
    );
    let xml = replaced(
        &xml,
        "<interface type='network'>",
        "<interface type='client'>",
    );
    let cable = format!(
        "<source address='{}' port='{}'/>",
        network.ip(),
        network.port()
    );
    replaced(&xml, "<source network='default'/>", &cable)
}

/// The domain with the `<os>` that it offers for UEFI, in a comment, instead of that for BIOS.
///
/// # Panics
/// When the two do not follow one another, each once.
pub fn with_uefi(xml: &str) -> String {
    let (before, rest) = once(xml, "<!-- BIOS. For UEFI, without Secure Boot:");
    let (uefi, rest) = once(rest, "-->");
    let (bios, after) = once(rest, "</os>");
    assert_eq!(bios.matches("<os>").count(), 1, "{bios}");
    assert_eq!(uefi.matches("<os firmware='efi'>").count(), 1, "{uefi}");
    format!("{before}{uefi}{after}")
}

fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
    text.replace(old, new)
}

/// `text` before and after the first `mark`.
fn once<'text>(text: &'text str, mark: &str) -> (&'text str, &'text str) {
    let Some(parts) = text.split_once(mark) else {
        panic!("no {mark} in {text}")
    };
    parts
}
