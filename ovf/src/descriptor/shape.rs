//! What is the same in every descriptor of ours, each with its reason.

/// Namespace of envelopes (schema dsp8023 1.1.1).
pub const OVF_NAMESPACE: &str = "http://schemas.dmtf.org/ovf/envelope/1";
/// Namespace of what is inside an Item.
pub const RASD_NAMESPACE: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData";
/// Namespace of what is inside the System element.
pub const VSSD_NAMESPACE: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData";
/// Namespace of VMware's additions.
pub const VMW_NAMESPACE: &str = "http://www.vmware.com/schema/ovf";
/// Which format the disk has; the part behind # says that it can be read without seeking.
pub const DISK_FORMAT: &str =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// The network that the importing person maps to one of theirs.
pub const NETWORK: &str = "VM Network";
/// Product and vendor.
pub const PRODUCT: &str = "Outgate";
/// Virtual hardware that vSphere 7.0 U2 and everything since has.
pub const HARDWARE: &str = "vmx-19";
/// What is before the dot of each property's key in the environment; DSP0243 section 9.5 allows no
/// dot in the key itself.
pub const PROPERTY_CLASS: &str = "outgate";
/// How the environment may reach the guest, which takes it either way: on a disc, where the machine
/// was given a drive, and by VMware's backdoor.
pub const TRANSPORT: &str = "iso com.vmware.guestInfo";

/// Linux, 64 bits (CIM_OperatingSystem.OSType). Newer numbers fail on older hosts.
pub const OS_ID: &str = "101";
/// The same for vSphere: the family of the kernel.
pub const OS_TYPE: &str = "other5xLinux64Guest";

/// Unit of capacity and memory: MiB.
pub const MIB: &str = "byte * 2^20";
/// Unit in which vSphere reserves processor time.
pub const MHZ: &str = "hertz * 10^6";

/// Settings of vSphere; `ovf:required="false"` lets every other importer pass over them.
pub const CONFIG: &[(&str, &str)] = &[
    // The kernel is not signed by a key that VMware's firmware knows.
    ("bootOptions.efiSecureBootEnabled", "false"),
    ("firmware", "efi"),
    // Power off and reset ask the guest, which drains its sessions first.
    ("powerOpInfo.powerOffType", "soft"),
    ("powerOpInfo.resetType", "soft"),
    ("powerOpInfo.suspendType", "soft"),
    // The guest keeps its own time; two masters of one clock make it jump.
    ("tools.syncTimeWithHost", "false"),
];

/// The identifiers that references lead to.
pub const FILE_ID: &str = "file1";
/// See [`FILE_ID`].
pub const DISK_ID: &str = "vmdisk1";
/// What a disk Item's HostResource begins with; the identifier of a disk follows.
pub const DISK_RESOURCE: &str = "ovf:/disk/";

/// Resource types of Items (CIM_ResourceAllocationSettingData.ResourceType).
pub const PROCESSOR: &str = "3";
/// See [`PROCESSOR`].
pub const MEMORY: &str = "4";
/// See [`PROCESSOR`].
pub const SCSI_CONTROLLER: &str = "6";
/// See [`PROCESSOR`].
pub const ETHERNET: &str = "10";
/// See [`PROCESSOR`].
pub const HARD_DISK: &str = "17";

/// VMware's paravirtual SCSI controller, spelt as vSphere wants it.
pub const PVSCSI: &str = "VirtualSCSI";
/// VMware's paravirtual network card.
pub const VMXNET3: &str = "VmxNet3";
/// Slot of the first network card: vSphere counts from 7.
pub const ETHERNET_SLOT: &str = "7";
