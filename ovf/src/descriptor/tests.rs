//! What descriptors look like, and which are refused.

use proptest::prelude::*;

use super::*;
use crate::mutate::mutants;
use crate::property::PROPERTIES;

/// A descriptor of everything.
fn full() -> Descriptor {
    Descriptor {
        name: "mumbai-01".to_owned(),
        version: "0.1.0".to_owned(),
        full_version: "0.1.0 (commit 0123abcd)".to_owned(),
        annotation: "Deploy once.\nOne file for each connector.".to_owned(),
        disk: Disk {
            file_name: "mumbai-01.vmdk".to_owned(),
            file_bytes: 8_123_392,
            capacity_mib: 76,
            populated_bytes: 9_000_000,
        },
        mac: Some(MacAddress([0x00, 0x50, 0x56, 0x01, 0x02, 0x03])),
        cpus: 2,
        memory_mib: 256,
        properties: PROPERTIES
            .iter()
            .map(|property| (property, String::new()))
            .collect(),
    }
}

fn refusal(text: &str) -> String {
    Descriptor::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn the_envelope_is_as_every_import_wants_it() {
    let mut descriptor = full();
    descriptor.properties.clear();
    assert_eq!(descriptor.emit(), include_str!("golden.ovf"));
}

#[test]
fn without_a_mac_the_hypervisor_chooses_and_the_card_is_still_connected() {
    let mut descriptor = full();
    let pinned = "<rasd:Address>00:50:56:01:02:03</rasd:Address>\n";
    let connected = "<rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>\n";
    assert!(descriptor.emit().contains(pinned) && descriptor.emit().contains(connected));
    descriptor.mac = None;
    let text = descriptor.emit();
    assert_eq!(
        text.matches("<rasd:Address>").count(),
        1,
        "the controller's"
    );
    assert!(text.contains(connected));
}

#[test]
fn the_environment_is_asked_for_only_when_there_are_properties() {
    let mut descriptor = full();
    let text = descriptor.emit();
    assert!(text.contains("<VirtualHardwareSection ovf:transport=\"iso com.vmware.guestInfo\">"));
    assert!(text.contains(
        "<Property ovf:key=\"edge\" ovf:type=\"string\" ovf:userConfigurable=\"true\" ovf:value=\"\">"
    ));
    assert!(text.contains("ovf:key=\"mac\" ovf:type=\"string\" ovf:userConfigurable=\"false\""));
    descriptor.properties.clear();
    let text = descriptor.emit();
    assert!(!text.contains("ovf:transport") && !text.contains("<Property "));
}

#[test]
fn no_device_and_no_key_is_there_that_importers_stumble_over() {
    let text = full().emit();
    for word in ["ExtraConfig", "IDE", "sound", "usb", "ethernet0"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn every_prefix_that_is_used_is_declared_and_every_declared_one_is_used() {
    let text = full().emit();
    for prefix in ["ovf", "rasd", "vmw", "vssd"] {
        assert!(text.contains(&format!("xmlns:{prefix}=\"")));
        assert!(text.contains(&format!("<{prefix}:")) || text.contains(&format!(" {prefix}:")));
    }
    assert!(
        Descriptor::parse(text.as_bytes()).is_ok(),
        "no other prefix is used"
    );
}

#[test]
fn each_departure_from_the_shape_is_named() {
    let cases = [
        // Order.
        (
            swapped("  <DiskSection>", "  <NetworkSection>", "  <VirtualSystem "),
            "Envelope has NetworkSection where DiskSection must stand; put or add DiskSection there",
        ),
        (
            swapped(
                "        <rasd:ElementName>Memory",
                "        <rasd:InstanceID>2",
                "        <rasd:ResourceType>4",
            ),
            "Item has InstanceID where ElementName must stand",
        ),
        // References.
        (
            replaced("ovf:fileRef=\"file1\"", "ovf:fileRef=\"file2\""),
            "Disk/ovf:fileRef refers to \"file2\", which does not exist; refer to one of: file1",
        ),
        (
            replaced("ovf:/disk/vmdisk1", "ovf:/disk/vmdisk2"),
            "Item/rasd:HostResource refers to \"vmdisk2\"",
        ),
        (
            replaced("<rasd:Parent>3", "<rasd:Parent>9"),
            "Item/rasd:Parent refers to \"9\", which does not exist; refer to one of: 1, 2, 3, 5",
        ),
        (
            replaced("<rasd:Parent>3", "<rasd:Parent>4"),
            "Item/rasd:Parent refers to \"4\"",
        ),
        (
            replaced("<rasd:Connection>VM", "<rasd:Connection>PM"),
            "Item/rasd:Connection refers to \"PM Network\"",
        ),
        (
            replaced("<rasd:InstanceID>5", "<rasd:InstanceID>4"),
            "Item/rasd:InstanceID: \"4\" is there twice",
        ),
        (
            replaced("ovf:key=\"gateway\"", "ovf:key=\"doorway\""),
            "ovf:key of class outgate refers to \"doorway\"",
        ),
        (
            replaced("ovf:key=\"gateway\"", "ovf:key=\"edge\""),
            "Property/ovf:key: \"edge\" is there twice",
        ),
        // Values.
        (
            replaced("00:50:56:01", "01:50:56:01"),
            "rasd:Address is \"01:50:56:01:02:03\"",
        ),
        (
            replaced("00:50:56:01", "00:50:56:0"),
            "rasd:Address is \"00:50:56:0:02:03\"",
        ),
        (
            replaced("ovf:size=\"8123392\"", "ovf:size=\"8 MB\""),
            "File/ovf:size is \"8 MB\"; it must be a number of digits alone, from 1",
        ),
        (
            replaced("ovf:size=\"8123392\"", "ovf:size=\"+5\""),
            "File/ovf:size is \"+5\"",
        ),
        (
            replaced("ovf:capacity=\"76\"", "ovf:capacity=\"0\""),
            "Disk/ovf:capacity is \"0\"",
        ),
        (
            replaced("ovf:capacity=\"76\"", "ovf:capacity=\"17592186044416\""),
            "Disk/ovf:capacity is \"17592186044416\"; it must be a number of MiB below 2^44",
        ),
        (
            replaced("ovf:populatedSize=\"9", "ovf:populatedSize=\"999"),
            "Disk/ovf:populatedSize is \"999000000\"",
        ),
        (
            replaced("Units=\"byte * 2^20\"", "Units=\"byte * 2^30\""),
            "DiskSection/Disk: capacityAllocationUnits is \"byte * 2^30\"; it must be \"byte * 2^20\"",
        ),
        (
            replaced("href=\"mumbai", "href=\"../mumbai"),
            "File/ovf:href is \"../mumbai-01.vmdk\"",
        ),
        (
            replaced("<rasd:VirtualQuantity>2<", "<rasd:VirtualQuantity>0<"),
            "processors: rasd:VirtualQuantity is \"0\"",
        ),
        // The fixed parts.
        (
            replaced("VirtualSCSI", "lsilogic"),
            "VirtualHardwareSection/Item 3/ResourceSubType is \"lsilogic\"; it must be \"VirtualSCSI\"",
        ),
        (
            replaced("vmx-19", "vmx-08"),
            "VirtualSystemType is \"vmx-08\"; it must be \"vmx-19\"",
        ),
        (
            replaced("\"efi\"", "\"bios\""),
            "Config 2: value is \"bios\"; it must be \"efi\"",
        ),
        (
            replaced(
                "    </VirtualHardwareSection>",
                "<vmw:ExtraConfig/></VirtualHardwareSection>",
            ),
            "VirtualHardwareSection has ExtraConfig behind its last element; remove it",
        ),
        (
            replaced("<Vendor>Outgate</Vendor>", ""),
            "VirtualSystem/ProductSection has Version where Vendor must stand",
        ),
        (
            replaced(" ovf:required=\"false\"", ""),
            "lacks the attribute required; add it",
        ),
        (
            replaced("<System>", "<System ovf:id=\"x\">"),
            "has an attribute id; remove it",
        ),
        (replaced("<System>", "<System>text"), "System is \"text\""),
        (
            replaced("<Envelope ", "<Envelop "),
            "OVF descriptor: line 145: not well-formed XML",
        ),
    ];
    for (text, says) in cases {
        let error = refusal(&text);
        assert!(error.contains(says), "wanted: {says}\nfound: {error}");
    }
}

#[test]
fn sentences_for_people_may_differ_between_versions() {
    let text = replaced("The virtual disk", "A disk");
    assert_eq!(Descriptor::parse(text.as_bytes()), Ok(full()));
}

#[test]
fn a_document_type_and_what_is_no_envelope_are_refused() {
    let entity = replaced(
        "<Envelope ",
        "<!DOCTYPE Envelope [<!ENTITY a \"b\">]><Envelope ",
    );
    assert!(refusal(&entity).contains("a document type is not accepted"));
    assert!(refusal("<Envelope/>").contains("the root element is \"Envelope\""));
    let long = " ".repeat(DESCRIPTOR_BYTES_MAX + 1);
    assert!(refusal(&long).contains("65537 bytes; the limit is 65536"));
}

/// The full descriptor with one text replaced, which must be in it.
fn replaced(from: &str, to: &str) -> String {
    let text = full().emit();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// The full descriptor with two neighbouring parts swapped: from `a` to `b`, and from `b` to `end`.
fn swapped(a: &str, b: &str, end: &str) -> String {
    let text = full().emit();
    let a = text.find(a).unwrap();
    let b = a + text[a..].find(b).unwrap();
    let end = b + text[b..].find(end).unwrap();
    [&text[..a], &text[b..end], &text[a..b], &text[end..]].concat()
}

/// Any text that XML can say.
fn any_text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        Just('&'),
        Just('<'),
        Just('>'),
        Just('"'),
        Just('\''),
        Just('\n'),
        Just('\r'),
        Just('\t'),
        Just(' '),
        Just(']'),
        Just('é'),
        Just('\u{85}'),
        Just('\u{2028}'),
        any::<char>(),
    ];
    let letters = prop::collection::vec(letter, 0..30);
    letters.prop_map(|letters| {
        letters
            .into_iter()
            .filter(|letter| crate::xml_writer::is_xml_char(*letter))
            .collect()
    })
}

fn any_descriptor() -> impl Strategy<Value = Descriptor> {
    let texts = (any_text(), any_text(), any_text(), any_text());
    let properties = {
        let all: Vec<&'static Property> = PROPERTIES.iter().collect();
        prop::sample::subsequence(all, 0..=PROPERTIES.len())
    };
    let mac = any::<Option<[u8; 6]>>()
        .prop_map(|octets| octets.map(MacAddress).filter(|mac| mac.is_unicast()));
    let numbers = (1u64.., 1u64..1 << 44, 1u32.., 1u32..);
    (texts, any_text(), properties, mac, numbers).prop_map(
        |((name, version, full_version, annotation), value, properties, mac, numbers)| Descriptor {
            name,
            version,
            full_version,
            annotation,
            disk: Disk {
                file_name: "a.vmdk".to_owned(),
                file_bytes: numbers.0,
                capacity_mib: numbers.1,
                populated_bytes: numbers.1,
            },
            mac,
            cpus: numbers.2,
            memory_mib: numbers.3,
            properties: properties.into_iter().map(|p| (p, value.clone())).collect(),
        },
    )
}

proptest! {
    #[test]
    fn every_descriptor_reads_back(descriptor in any_descriptor()) {
        prop_assert_eq!(Descriptor::parse(descriptor.emit().as_bytes()), Ok(descriptor));
    }

    #[test]
    fn no_mutant_makes_the_parser_panic(data in mutants(full().emit().into_bytes())) {
        fuzz_descriptor(&data);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_descriptor(&data);
    }
}
