//! Promises of the shipped configuration.

use kernel_config::{CMDLINE, FRAGMENTS, PATCHES, Request, Symbol, Value, request};

#[test]
fn every_symbol_of_every_fragment_has_a_reason_and_one_home() {
    let request = request().expect("the shipped fragments merge");
    assert!(request.symbols().count() > 300);
}

#[test]
fn every_fragment_in_the_folder_is_compiled_in() {
    let mut compiled_in: Vec<String> = FRAGMENTS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    compiled_in.sort();
    assert_eq!(files_of("fragments"), compiled_in);
}

#[test]
fn every_patch_in_the_folder_is_applied() {
    let names: Vec<_> = PATCHES.iter().map(|patch| patch.name).collect();
    assert_eq!(files_of("patches"), names);
}

#[test]
fn a_forked_machine_is_noticed_because_its_random_numbers_would_repeat() {
    let request = request().expect("the shipped fragments merge");
    let vmgenid = symbol(&request, "CONFIG_VMGENID");
    assert_eq!(vmgenid.value, Value::Yes);
    assert!(
        vmgenid.reason.contains("byte-identical random numbers"),
        "{}",
        vmgenid.reason
    );
}

#[test]
fn the_command_line_is_compiled_in_and_overrides_the_boot_loader() {
    let request = request().expect("the shipped fragments merge");
    assert_eq!(
        symbol(&request, "CONFIG_CMDLINE").value,
        Value::Text(CMDLINE.clone())
    );
    assert_eq!(symbol(&request, "CONFIG_CMDLINE_BOOL").value, Value::Yes);
    assert_eq!(
        symbol(&request, "CONFIG_CMDLINE_OVERRIDE").value,
        Value::Yes
    );
}

#[test]
fn what_must_never_be_in_the_kernel_is_asked_to_be_off() {
    let request = request().expect("the shipped fragments merge");
    for name in [
        "MODULES",
        "KEXEC",
        "KEXEC_FILE",
        "BPF_SYSCALL",
        "USER_NS",
        "DEVMEM",
        "DEVPORT",
        "PROC_KCORE",
        "KPROBES",
        "FTRACE",
        "DEBUG_FS",
        "MAGIC_SYSRQ",
        "HIBERNATION",
        "COREDUMP",
        "SWAP",
        "IA32_EMULATION",
        "BINFMT_MISC",
        "BINFMT_SCRIPT",
        "USERFAULTFD",
        "IKCONFIG",
        "LOCALVERSION_AUTO",
        "GCC_PLUGIN_LATENT_ENTROPY",
        "SECURITY_SELINUX",
        "SECURITY_IPE",
    ] {
        assert_eq!(symbol(&request, name).value, Value::No, "{name}");
    }
}

#[test]
fn what_the_data_plane_and_pid_1_need_is_asked_for() {
    let request = request().expect("the shipped fragments merge");
    for name in [
        "TLS",
        "IO_URING",
        "EPOLL",
        "TCP_CONG_CUBIC",
        "TCP_CONG_BBR",
        "NET_SCH_FQ",
        "PACKET",
        "UNIX",
        "IPV6",
        "SIGNALFD",
        "TIMERFD",
        "INPUT_EVDEV",
        "ACPI_BUTTON",
        "FW_CFG_SYSFS",
        "DEVTMPFS",
        "TMPFS",
        "PROC_FS",
        "SYSFS",
        "EFI_PARTITION",
        "VIRTIO_BLK",
        "VIRTIO_NET",
        "VMWARE_PVSCSI",
        "VMXNET3",
        "BLK_DEV_NVME",
        "SATA_AHCI",
        "E1000",
        "E1000E",
        "VGA_CONSOLE",
        "SERIAL_8250_CONSOLE",
        "RD_ZSTD",
        "SECCOMP_FILTER",
        "SECURITY_LANDLOCK",
    ] {
        assert_eq!(symbol(&request, name).value, Value::Yes, "{name}");
    }
}

#[test]
fn only_security_modules_with_a_policy_are_in_force() {
    let request = request().expect("the shipped fragments merge");
    assert_eq!(
        symbol(&request, "LSM").value,
        Value::Text("lockdown,yama,landlock".into())
    );
}

#[test]
fn no_file_system_can_be_mounted_from_the_disk() {
    let request = request().expect("the shipped fragments merge");
    for name in [
        "EXT4_FS",
        "ISO9660_FS",
        "SQUASHFS",
        "EROFS_FS",
        "VFAT_FS",
        "BLK_DEV_DM",
        "MD",
    ] {
        assert!(
            request
                .find(name)
                .is_none_or(|symbol| symbol.value == Value::No),
            "{name}"
        );
    }
}

#[test]
fn a_kernel_that_stops_restarts() {
    let request = request().expect("the shipped fragments merge");
    assert_eq!(symbol(&request, "PANIC_TIMEOUT").value, Value::Number(10));
    assert_eq!(symbol(&request, "PANIC_ON_OOPS").value, Value::Yes);
    assert!(CMDLINE.split(' ').any(|parameter| parameter == "panic=10"));
}

/// The names of the files in a folder of this crate, sorted.
fn files_of(folder: &str) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(path).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("readable").file_name())
        .map(|name| name.into_string().expect("ASCII"))
        .collect();
    names.sort();
    names
}

fn symbol<'a>(request: &'a Request, name: &str) -> &'a Symbol {
    request
        .find(name)
        .unwrap_or_else(|| panic!("no fragment names {name}"))
}
