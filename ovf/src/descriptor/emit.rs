//! Writes a descriptor.

use super::Descriptor;
use super::shape::{
    CONFIG, DISK_FORMAT, DISK_ID, DISK_RESOURCE, ETHERNET, ETHERNET_SLOT, FILE_ID, HARD_DISK,
    HARDWARE, MEMORY, MHZ, MIB, NETWORK, OS_ID, OS_TYPE, OVF_NAMESPACE, PROCESSOR, PRODUCT,
    PROPERTY_CLASS, PVSCSI, RASD_NAMESPACE, SCSI_CONTROLLER, TRANSPORT, VMW_NAMESPACE, VMXNET3,
    VSSD_NAMESPACE,
};
use crate::property::Property;
use crate::xml_writer::XmlWriter;

pub(super) fn emit(descriptor: &Descriptor) -> String {
    let mut xml = XmlWriter::new();
    xml.open(
        "Envelope",
        &[
            ("xmlns", OVF_NAMESPACE),
            ("xmlns:ovf", OVF_NAMESPACE),
            ("xmlns:rasd", RASD_NAMESPACE),
            ("xmlns:vmw", VMW_NAMESPACE),
            ("xmlns:vssd", VSSD_NAMESPACE),
        ],
    );
    references(&mut xml, descriptor);
    disks(&mut xml, descriptor);
    networks(&mut xml);
    xml.open("VirtualSystem", &[("ovf:id", &descriptor.name)]);
    xml.leaf("Info", "A connector: one virtual machine");
    xml.leaf("Name", &descriptor.name);
    annotation(&mut xml, descriptor);
    product(&mut xml, descriptor);
    operating_system(&mut xml);
    hardware(&mut xml, descriptor);
    xml.finish()
}

fn references(xml: &mut XmlWriter, descriptor: &Descriptor) {
    let file_bytes = descriptor.disk.file_bytes.to_string();
    xml.open("References", &[]);
    xml.empty(
        "File",
        &[
            ("ovf:href", &descriptor.disk.file_name),
            ("ovf:id", FILE_ID),
            ("ovf:size", &file_bytes),
        ],
    );
    xml.close();
}

fn disks(xml: &mut XmlWriter, descriptor: &Descriptor) {
    let capacity = descriptor.disk.capacity_mib.to_string();
    let populated = descriptor.disk.populated_bytes.to_string();
    xml.open("DiskSection", &[]);
    xml.leaf("Info", "The virtual disk");
    xml.empty(
        "Disk",
        &[
            ("ovf:capacity", &capacity),
            ("ovf:capacityAllocationUnits", MIB),
            ("ovf:diskId", DISK_ID),
            ("ovf:fileRef", FILE_ID),
            ("ovf:format", DISK_FORMAT),
            ("ovf:populatedSize", &populated),
        ],
    );
    xml.close();
}

fn networks(xml: &mut XmlWriter) {
    xml.open("NetworkSection", &[]);
    xml.leaf("Info", "The network");
    xml.open("Network", &[("ovf:name", NETWORK)]);
    xml.leaf(
        "Description",
        "The network that the connector dials out of; the private applications are reachable from it",
    );
    xml.close();
    xml.close();
}

fn annotation(xml: &mut XmlWriter, descriptor: &Descriptor) {
    xml.open("AnnotationSection", &[]);
    xml.leaf("Info", "Read this first");
    xml.leaf("Annotation", &descriptor.annotation);
    xml.close();
}

fn product(xml: &mut XmlWriter, descriptor: &Descriptor) {
    xml.open("ProductSection", &[("ovf:class", PROPERTY_CLASS)]);
    xml.leaf("Info", "The product");
    xml.leaf("Product", PRODUCT);
    xml.leaf("Vendor", PRODUCT);
    xml.leaf("Version", &descriptor.version);
    xml.leaf("FullVersion", &descriptor.full_version);
    for (property, value) in &descriptor.properties {
        setting(xml, property, value);
    }
    xml.close();
}

fn setting(xml: &mut XmlWriter, property: &Property, value: &str) {
    let key = property.key_in_class();
    let by_people = property.user_configurable.to_string();
    xml.open(
        "Property",
        &[
            ("ovf:key", key),
            ("ovf:type", "string"),
            ("ovf:userConfigurable", &by_people),
            ("ovf:value", value),
        ],
    );
    xml.leaf("Label", property.label);
    xml.leaf("Description", property.purpose);
    xml.close();
}

fn operating_system(xml: &mut XmlWriter) {
    xml.open(
        "OperatingSystemSection",
        &[("ovf:id", OS_ID), ("vmw:osType", OS_TYPE)],
    );
    xml.leaf("Info", "The operating system");
    xml.leaf("Description", "Linux (64 bits)");
    xml.close();
}

fn hardware(xml: &mut XmlWriter, descriptor: &Descriptor) {
    let transport = [("ovf:transport", TRANSPORT)];
    let with_environment = !descriptor.properties.is_empty();
    xml.open(
        "VirtualHardwareSection",
        if with_environment { &transport } else { &[] },
    );
    xml.leaf("Info", "The virtual hardware");
    xml.open("System", &[]);
    xml.leaf("vssd:ElementName", "Virtual Hardware Family");
    xml.leaf("vssd:InstanceID", "0");
    xml.leaf("vssd:VirtualSystemIdentifier", &descriptor.name);
    xml.leaf("vssd:VirtualSystemType", HARDWARE);
    xml.close();
    for item in items(descriptor) {
        xml.open("Item", &[]);
        for (name, text) in item {
            xml.leaf(name, &text);
        }
        xml.close();
    }
    for (key, value) in CONFIG {
        let required = ("ovf:required", "false");
        xml.empty(
            "vmw:Config",
            &[required, ("vmw:key", key), ("vmw:value", value)],
        );
    }
    xml.close();
}

/// Names and texts of the children of one Item, in alphabetical order as the schema wants them.
type Item = Vec<(&'static str, String)>;

fn items(descriptor: &Descriptor) -> [Item; 5] {
    let item = |children: &[(&'static str, &str)]| -> Item {
        children
            .iter()
            .map(|(name, text)| (*name, (*text).to_owned()))
            .collect()
    };
    let cpus = descriptor.cpus.to_string();
    let memory = descriptor.memory_mib.to_string();
    [
        item(&[
            ("rasd:AllocationUnits", MHZ),
            ("rasd:Description", "Number of virtual processors"),
            ("rasd:ElementName", "Processors"),
            ("rasd:InstanceID", "1"),
            ("rasd:ResourceType", PROCESSOR),
            ("rasd:VirtualQuantity", &cpus),
        ]),
        item(&[
            ("rasd:AllocationUnits", MIB),
            ("rasd:Description", "Memory size"),
            ("rasd:ElementName", "Memory"),
            ("rasd:InstanceID", "2"),
            ("rasd:ResourceType", MEMORY),
            ("rasd:VirtualQuantity", &memory),
        ]),
        item(&[
            ("rasd:Address", "0"),
            ("rasd:Description", "Paravirtual SCSI controller"),
            ("rasd:ElementName", "SCSI controller 0"),
            ("rasd:InstanceID", "3"),
            ("rasd:ResourceSubType", PVSCSI),
            ("rasd:ResourceType", SCSI_CONTROLLER),
        ]),
        item(&[
            ("rasd:AddressOnParent", "0"),
            ("rasd:ElementName", "Hard disk 1"),
            ("rasd:HostResource", &format!("{DISK_RESOURCE}{DISK_ID}")),
            ("rasd:InstanceID", "4"),
            ("rasd:Parent", "3"),
            ("rasd:ResourceType", HARD_DISK),
        ]),
        network_card(descriptor),
    ]
}

/// AutomaticAllocation says that the card is connected at power-on (DSP0243 section 8.3), whoever
/// chose its address: false would import a machine with its cable unplugged.
fn network_card(descriptor: &Descriptor) -> Item {
    let pinned = descriptor.mac.map(|mac| ("rasd:Address", mac.to_string()));
    let rest = [
        ("rasd:AddressOnParent", ETHERNET_SLOT),
        ("rasd:AutomaticAllocation", "true"),
        ("rasd:Connection", NETWORK),
        ("rasd:Description", "Paravirtual network card"),
        ("rasd:ElementName", "Network adapter 1"),
        ("rasd:InstanceID", "5"),
        ("rasd:ResourceSubType", VMXNET3),
        ("rasd:ResourceType", ETHERNET),
    ];
    let rest = rest.map(|(name, text)| (name, text.to_owned()));
    pinned.into_iter().chain(rest).collect()
}
