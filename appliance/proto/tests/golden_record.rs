//! The bytes of a state record, for good: a machine in the field reads what an older image wrote.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use std::net::{Ipv4Addr, Ipv6Addr};

use connector_proto::record::{
    EdgeAddresses, Identity, ProxyCredentials, Record, State, emit, parse,
};

/// What an image that wrote version 1 left on the disk.
const VERSION_1: &str = "\
    4f5554474154450000010000000000610000000000000007de3fcbc8e32b92e3aa950a6e2c9b22f521c3\
    8352ba927820753636e84da9d4a00342424210656467652e6578616d706c653a34343301020102010311\
    111111111111111111111111111111096d756d6261692d3031064d756d62616922222222222222222222\
    2222222222222222222222222222222222222222222280e2cfaa06";
/// What this image writes.
const VERSION_2: &str = "\
    4f5554474154450000020000000000860000000000000007d7b770158e924e9de86555f008cb2251b2c0\
    274467a5d764dea36ec84545e2c70342424210656467652e6578616d706c653a34343301020102010311\
    111111111111111111111111111111096d756d6261692d3031064d756d62616922222222222222222222\
    2222222222222222222222222222222222222222222280e2cfaa06020120010db8000000000000000000\
    00000700c00002070105706c616e7406736563726574";

#[test]
fn a_record_has_the_bytes_it_was_released_with() {
    assert_eq!(to_hex(&emit(&record()).unwrap()), VERSION_2);
}

#[test]
fn a_record_of_version_1_is_read_and_knows_no_address_and_no_proxy() {
    let old = parse(&from_hex(VERSION_1)).unwrap();
    assert_eq!(old.generation, 7);
    let mut wanted = record();
    wanted.state.edge_addresses.clear();
    wanted.state.proxy_credentials = None;
    assert_eq!(emit(&old).unwrap(), emit(&wanted).unwrap());
}

fn record() -> Record {
    let state = State {
        private_key: vec![0x42; 3],
        edge: "edge.example:443".into(),
        identity: Some(Identity {
            ca: vec![1, 2],
            certificate: vec![3],
            connector_id: [0x11; 16],
            name: "mumbai-01".into(),
            group: "Mumbai".into(),
            grant_key: [0x22; 32],
        }),
        last_good_time: 1_700_000_000,
        edge_addresses: EdgeAddresses::from_slice(&[
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).into(),
            Ipv4Addr::new(192, 0, 2, 7).into(),
        ])
        .unwrap(),
        proxy_credentials: Some(ProxyCredentials {
            user: "plant".into(),
            password: "secret".into(),
        }),
    };
    Record {
        generation: 7,
        state,
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}
