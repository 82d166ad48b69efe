//! The command lines of whole machines, and of what differs between them.

use super::*;

#[test]
fn a_full_machine_yields_exactly_this_command_line() {
    let expected = "\
-nodefaults
-no-user-config
-display none
-vga std
-machine q35,accel=tcg
-cpu max
-smp 2
-m 128
-uuid 4f757467-6174-6500-8000-000000000001
-rtc base=2038-01-20T00:00:00
-no-reboot
-drive if=pflash,unit=0,format=raw,readonly=on,file=/fw/CODE.fd
-drive if=pflash,unit=1,format=raw,file=/vm/VARS.fd
-drive if=none,id=disk0,format=qcow2,snapshot=on,file=/vm/disk.qcow2
-device virtio-blk-pci,drive=disk0,bootindex=0
-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/vm/net
-device virtio-net-pci,id=nic0,mac=00:50:56:00:00:01,romfile=,netdev=net0
-chardev socket,id=serial0,server=off,path=/vm/serial
-serial chardev:serial0
-chardev socket,id=serial1,server=off,path=/vm/serial2
-serial chardev:serial1
-chardev socket,id=qmp,server=off,path=/vm/qmp
-mon chardev=qmp,mode=control
-fw_cfg name=opt/outgate/edge,string=edge.outgate.example
-device vmgenid,guid=4f757467-6174-6500-8000-0000000000a1
-chardev socket,id=chrtpm,server=off,path=/vm/tpm
-tpmdev emulator,id=tpm0,chardev=chrtpm
-device tpm-tis,tpmdev=tpm0
-device i6300esb
-action watchdog=reset
-loadvm before
-plugin /vm/count.so,counts=/vm/a,,b
-icount shift=0";
    assert_eq!(lines(&full()), expected);
}

#[test]
fn an_empty_machine_has_no_devices() {
    let expected = "\
-nodefaults
-no-user-config
-display none
-vga std
-machine pc,accel=kvm
-cpu max
-smp 1
-m 128
-rtc base=utc";
    assert_eq!(lines(&Machine::new(Accelerator::Kvm)), expected);
}

#[test]
fn a_guise_of_vmware_shows_no_sign_of_qemu() {
    let mut machine = Machine::new(Accelerator::Tcg);
    machine.guise = Guise::Vmware;
    let text = lines(&machine);
    for option in [
        "-vga vmware\n",
        "-machine pc,accel=tcg,vmport=on\n",
        "-cpu max,-hypervisor\n",
        "-smbios type=1,manufacturer=VMware,, Inc.,product=VMware7,,1,serial=VMware-56 4d 00 ",
    ] {
        assert!(text.contains(option), "{option:?} is not in {text}");
    }
}

#[test]
fn a_disk_can_refuse_writes_or_have_them_recorded() {
    let mut machine = full();
    machine.read_only_disk = true;
    assert!(lines(&machine).contains("id=disk0,readonly=on,format=qcow2"));
    machine.write_log = Some("/vm/a,b.log".into());
    let recorded = "-drive if=none,id=disk0,driver=blklogwrites,log-sector-size=512,\
        file.driver=file,file.filename=/vm/disk.qcow2,\
        log.driver=file,log.filename=/vm/a,,b.log\n";
    assert!(lines(&machine).contains(recorded), "{}", lines(&machine));
}

#[test]
fn each_bus_names_its_controller_before_the_disk() {
    for (bus, expected) in [
        (
            DiskBus::Ahci,
            "ahci,id=ahci0|ide-hd,bus=ahci0.0,drive=disk0,bootindex=0",
        ),
        (DiskBus::Nvme, "nvme,serial=outgate,drive=disk0,bootindex=0"),
        (
            DiskBus::Pvscsi,
            "pvscsi,id=scsi0|scsi-hd,bus=scsi0.0,drive=disk0,bootindex=0",
        ),
        (DiskBus::Virtio, "virtio-blk-pci,drive=disk0,bootindex=0"),
    ] {
        let mut machine = Machine::new(Accelerator::Tcg);
        machine.disk = Some(Disk {
            path: "/d".into(),
            format: DiskFormat::Raw,
            bus,
            discard_writes: false,
        });
        let argv = machine.argv();
        let devices: Vec<_> = argv
            .windows(2)
            .filter(|pair| pair[0] == "-device")
            .map(|pair| pair[1].to_str().unwrap())
            .collect();
        assert_eq!(devices.join("|"), expected);
    }
}

#[test]
fn a_comma_in_a_path_does_not_end_the_option() {
    let mut machine = Machine::new(Accelerator::Tcg);
    machine.qmp = Some("/a,b/qmp".into());
    assert!(lines(&machine).contains("path=/a,,b/qmp"));
}

#[test]
fn an_unplugged_card_is_there_without_a_network() {
    let mut machine = Machine::new(Accelerator::Tcg);
    machine.nic = Some(Nic {
        mac: Mac::new([0, 0x50, 0x56, 0, 0, 2]).unwrap(),
        model: NicModel::Vmxnet3,
        cable: Cable::Unplugged,
    });
    let text = lines(&machine);
    assert!(text.contains("-device vmxnet3,id=nic0,mac=00:50:56:00:00:02,romfile="));
    assert!(!text.contains("netdev"));
}

#[test]
fn a_disc_is_in_a_drive_that_cannot_write_it() {
    let mut machine = full();
    machine.cd = Some("/vm/a,b.iso".into());
    let drive = "-drive if=none,id=cd0,media=cdrom,readonly=on,format=raw,file=/vm/a,,b.iso\n\
        -device ide-cd,bus=ide.1,drive=cd0\n";
    assert!(lines(&machine).contains(drive), "{}", lines(&machine));
}

#[test]
fn a_tap_is_used_as_it_is_and_what_passes_can_be_captured() {
    let mut machine = full();
    if let Some(nic) = &mut machine.nic {
        nic.cable = Cable::Tap {
            interface: "guest0".to_owned(),
            capture: Some("/vm/a,b.pcap".into()),
        };
    }
    let text = lines(&machine);
    for option in [
        "-netdev tap,id=net0,ifname=guest0,script=no,downscript=no,vhost=off,vnet_hdr=off\n",
        "-object filter-dump,id=capture0,netdev=net0,file=/vm/a,,b.pcap\n",
    ] {
        assert!(text.contains(option), "{option:?} is not in {text}");
    }
}

fn full() -> Machine {
    Machine {
        accelerator: Accelerator::Tcg,
        board: Board::Q35,
        guise: Guise::Qemu,
        cpus: 2,
        memory_mib: 128,
        firmware: Firmware::Ovmf {
            code: "/fw/CODE.fd".into(),
            vars: "/vm/VARS.fd".into(),
        },
        kernel: None,
        disk: Some(Disk {
            path: "/vm/disk.qcow2".into(),
            format: DiskFormat::Qcow2,
            bus: DiskBus::Virtio,
            discard_writes: true,
        }),
        read_only_disk: false,
        cd: None,
        write_log: None,
        nic: Some(Nic {
            mac: Mac::new([0, 0x50, 0x56, 0, 0, 1]).unwrap(),
            model: NicModel::Virtio,
            cable: Cable::Stream("/vm/net".into()),
        }),
        serial: Serial::Socket("/vm/serial".into()),
        second_serial: Some("/vm/serial2".into()),
        qmp: Some("/vm/qmp".into()),
        fw_cfg: vec![FwCfg {
            name: "opt/outgate/edge".into(),
            value: "edge.outgate.example".into(),
        }],
        rtc: Rtc::At("2038-01-20T00:00:00".into()),
        vm_generation: Some("4f757467-6174-6500-8000-0000000000a1".into()),
        snapshot: Some("before".into()),
        tpm: Some("/vm/tpm".into()),
        watchdog: true,
        uuid: Some("4f757467-6174-6500-8000-000000000001".into()),
        restart_on_reset: false,
        plugin: Some(Plugin {
            path: "/vm/count.so".into(),
            argument: "counts".into(),
            value: "/vm/a,b".into(),
        }),
        clock_counts_instructions: true,
    }
}

/// One option per line, as a person would read it.
fn lines(machine: &Machine) -> String {
    let mut text = String::new();
    for argument in machine.argv() {
        let argument = argument.into_string().unwrap();
        let separator = match (text.is_empty(), argument.starts_with('-')) {
            (true, _) => "",
            (false, true) => "\n",
            (false, false) => " ",
        };
        text.push_str(separator);
        text.push_str(&argument);
    }
    text
}
