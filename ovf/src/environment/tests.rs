//! Environments as hypervisors write them, and as strangers might.

use proptest::prelude::*;

use super::*;
use crate::given::Given;
use crate::mutate::mutants;
use crate::value::Value;

/// As vCenter writes it, with its own section and a neighbour of the same vApp.
const VCENTER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Environment
     xmlns="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
     xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"
     xmlns:ve="http://www.vmware.com/schema/ovfenv"
     oe:id=""
     ve:vCenterId="vm-42">
   <PlatformSection>
      <Kind>VMware ESXi</Kind>
      <Version>8.0.2</Version>
      <Vendor>VMware, Inc.</Vendor>
      <Locale>en</Locale>
   </PlatformSection>
   <PropertySection>
         <Property oe:key="outgate.address" oe:value="192.0.2.10/24"/>
         <Property oe:key="outgate.edge" oe:value="edge.example.com"/>
         <Property oe:key="outgate.gateway" oe:value="192.0.2.1"/>
         <Property oe:key="outgate.hostname" oe:value=""/>
         <Property oe:key="outgate.mac" oe:value="00:50:56:01:02:03"/>
         <Property oe:key="outgate.ntp" oe:value="ntp.example.com,192.0.2.9"/>
   </PropertySection>
   <ve:EthernetAdapterSection>
      <ve:Adapter ve:mac="00:50:56:01:02:03" ve:network="VM Network" ve:unitNumber="7"/>
   </ve:EthernetAdapterSection>
   <Entity oe:id="neighbour">
      <PropertySection>
         <Property oe:key="outgate.resolvers" oe:value="192.0.2.99"/>
      </PropertySection>
   </Entity>
</Environment>
"#;

fn read(document: &str) -> Given {
    parse(document.as_bytes()).unwrap()
}

fn refusal(document: &str) -> String {
    parse(document.as_bytes()).unwrap_err().to_string()
}

/// An environment with these properties.
fn with(properties: &str) -> String {
    format!(
        "<e:Environment xmlns:e='{ENVIRONMENT_NAMESPACE}'><e:PropertySection>{properties}\
         </e:PropertySection></e:Environment>"
    )
}

fn property(key: &str, value: &str) -> String {
    format!("<e:Property e:key='{key}' e:value='{value}'/>")
}

#[test]
fn what_vcenter_writes_becomes_typed_values() {
    let environment = read(VCENTER);
    assert_eq!(environment.complaints, []);
    let keys: Vec<_> = environment.values.iter().map(|(p, _)| p.key).collect();
    assert_eq!(
        keys,
        [
            "outgate.address",
            "outgate.edge",
            "outgate.gateway",
            "outgate.mac",
            "outgate.ntp"
        ]
    );
    let edge = "edge.example.com".parse().unwrap();
    assert_eq!(environment.value("outgate.edge"), Some(&Value::Edge(edge)));
    assert_eq!(environment.value("outgate.hostname"), None, "left empty");
    assert_eq!(
        environment.value("outgate.resolvers"),
        None,
        "the neighbour's"
    );
}

#[test]
fn a_slip_in_one_field_costs_that_field_alone() {
    let document = VCENTER.replace("192.0.2.10/24", "192.0.2.10");
    let environment = read(&document);
    assert_eq!(environment.values.len(), 4);
    let [problem] = &environment.complaints[..] else {
        panic!("{:?}", environment.complaints)
    };
    assert_eq!(
        problem.sentence("VMware's guestinfo"),
        "VMware's guestinfo says address=\"192.0.2.10\", which is not an IPv4 address like \
         192.0.2.10/24: ignored."
    );
}

#[test]
fn an_unknown_key_of_ours_is_named_and_those_of_others_are_passed_over() {
    let document = with(&(property("outgate.edgy", "a") + &property("other.key", "b")));
    let environment = read(&document);
    assert_eq!(environment.values, []);
    assert_eq!(environment.complaints.len(), 1);
    assert_eq!(
        environment.complaints[0].sentence("The OVF CD"),
        "The OVF CD says edgy=\"a\", which is no setting of this version: ignored."
    );
}

#[test]
fn a_property_given_twice_refuses_the_document_whoever_it_is_for() {
    for key in ["outgate.edge", "other.key"] {
        let document = with(&(property(key, "a") + &property(key, "a")));
        assert!(refusal(&document).contains(&format!("\"{key}\" is given twice")));
    }
    let sections = VCENTER.replace(
        "<Entity",
        "<PropertySection><Property oe:key=\"outgate.edge\" \
        oe:value=\"evil\"/></PropertySection><Entity",
    );
    assert!(refusal(&sections).contains("given twice"));
}

#[test]
fn names_of_another_namespace_say_nothing() {
    let foreign = VCENTER.replace("<Property ", "<ve:Property ");
    assert_eq!(read(&foreign), Given::default());
    let unqualified = VCENTER.replace("oe:value=\"edge", "value=\"edge");
    assert!(refusal(&unqualified).contains("Property number 2 has no attribute oe:value"));
    let other = VCENTER.replace(
        "xmlns=\"http://schemas.dmtf.org",
        "xmlns=\"http://example.com",
    );
    assert!(refusal(&other).contains("the root element is \"Environment\"; it must be"));
}

#[test]
fn an_environment_without_properties_says_nothing() {
    let empty = format!("<Environment xmlns='{ENVIRONMENT_NAMESPACE}'/>");
    assert_eq!(read(&empty), Given::default());
    assert_eq!(read(&with("")), Given::default());
}

#[test]
fn the_document_and_its_properties_are_bounded() {
    let many = |count| -> String { (0..count).map(|i| property(&format!("k{i}"), "")).collect() };
    assert_eq!(read(&with(&many(ENVIRONMENT_PROPERTIES_MAX))).values, []);
    let error = refusal(&with(&many(ENVIRONMENT_PROPERTIES_MAX + 1)));
    assert!(error.contains("more than 64 properties"), "{error}");
    let error = refusal(&" ".repeat(ENVIRONMENT_BYTES_MAX + 1));
    assert!(error.contains("65537 bytes; the limit is 65536"), "{error}");
}

#[test]
fn escapes_are_undone_once_and_nothing_is_expanded() {
    let document = with(&property("outgate.edge", "edge&#46;example&#x2e;com"));
    let edge = "edge.example.com".parse().unwrap();
    assert_eq!(
        read(&document).value("outgate.edge"),
        Some(&Value::Edge(edge))
    );
    let twice = with(&property("outgate.edge", "edge&amp;#46;example"));
    assert_eq!(read(&twice).complaints.len(), 1);
    let declared = format!(
        "<!DOCTYPE a [<!ENTITY b 'c'>]>{}",
        with(&property("outgate.edge", "&b;"))
    );
    assert!(refusal(&declared).contains("document type"));
}

proptest! {
    #[test]
    fn no_mutant_makes_the_parser_panic(data in mutants(VCENTER.as_bytes().to_vec())) {
        fuzz_environment(&data);
    }

    #[test]
    fn no_value_makes_the_parser_panic(key in 0..crate::property::PROPERTIES.len(), value in "[ -~]{0,40}") {
        let mut xml = crate::xml_writer::XmlWriter::new();
        xml.open("Environment", &[("xmlns", ENVIRONMENT_NAMESPACE), ("xmlns:e", ENVIRONMENT_NAMESPACE)]);
        xml.open("PropertySection", &[]);
        let known = &crate::property::PROPERTIES[key];
        xml.empty("Property", &[("e:key", known.key), ("e:value", &value)]);
        let text = xml.finish();
        fuzz_environment(text.as_bytes());
        let environment = read(&text);
        match known.parse(&value) {
            Ok(Some(value)) => prop_assert_eq!(environment.value(known.key), Some(&value)),
            Ok(None) => prop_assert_eq!(environment, Given::default()),
            Err(_) => prop_assert_eq!(environment.complaints.len(), 1),
        }
    }
}
