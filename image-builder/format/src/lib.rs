//! Deterministic writers and readers of the formats an appliance disk is made of: bytes in, bytes out.
//!
//! Nothing here reads a clock, a path, a random source or a device, so equal inputs give equal
//! bytes on any machine. Every reader treats its input as hostile: a wrong byte yields a typed
//! error that names the value and the limit, never a panic, and work is bounded by the input's
//! length. Every format has the same skeleton: offsets in `field`, a type that cannot be wrong,
//! `emit`, `parse`, one error enum, a `fuzz_*` body, golden and round-trip tests.
//!
//! | module | what it is for | source | deliberately unsupported |
//! |---|---|---|---|
//! | [`guid`] | names of disks, partitions and their types | UEFI 2.10, RFC 9562 | random ones |
//! | [`gpt`] | the partition table, written by the builder and read by PID 1 | UEFI 2.10 ch. 5 | entries other than 128 bytes, sectors other than 512 |
//! | [`grubenv`] | GRUB's 1024-byte environment block: boot state and slot header | GRUB 2.06 `lib/envblk.c` | escapes in values |
//! | [`slot`] | the header of a system slot, and the names of the partitions | ours | |
//! | [`cpio`] | the initramfs | Linux `early-userspace/buffer-format.rst` | hard links, block devices, sockets |
//! | [`fat`] | the boot partitions' filesystems | Microsoft FAT 1.03 | FAT32, long names, reading |
//! | [`qcow2`] | the disk image for QEMU/KVM | QEMU `docs/interop/qcow2.txt` | compression, encryption, snapshots, backing files |
//! | [`vmdk`] | the disk image inside an OVA (feature `vmdk`) | VMware Virtual Disk Format 5.0 | every type but streamOptimized |
//! | [`tar`] | the OVA itself | POSIX.1-2024 ustar | everything but regular files |
#![forbid(unsafe_code)]

mod bytes;
pub mod cpio;
pub mod fat;
pub mod gpt;
pub mod grubenv;
pub mod guid;
pub mod qcow2;
pub mod slot;
pub mod tar;
#[cfg(feature = "vmdk")]
pub mod vmdk;

/// Bytes in a sector, the unit of every LBA in this crate.
pub const SECTOR_BYTES: u64 = 512;
