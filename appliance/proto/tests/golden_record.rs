//! The bytes of a state record and of a device secret, for good: a machine in the field reads what an
//! older image wrote. They were computed by a second implementation, from the descriptions in `record`.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use std::net::{Ipv4Addr, Ipv6Addr};

use connector_proto::message::RatchetValue;
use connector_proto::record::{
    DEVICE_LEN, DeviceSecret, EdgeAddresses, Identity, Next, ProxyCredentials, Record, SealingKey,
    State, emit, emit_device, parse, parse_device,
};

/// What this image writes on a machine without a TPM.
const WITH_UUID: &str = "\
    4f5554474154450000030009000000be0000000000000007000000006553f1006d756d6261692d303100\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000f788663e4c155f315e3dea4fe116b6440f3eb43b54aea7ecbf52acae29bf\
    acffe2e19460563174b88188f30ffc21a4aee88fe738801180de6aae56a8b1250bd714c1f3244d1bc7b4\
    5f6dc5b2c2a1ecb7c2599f8aca8297fbb858f56065fc98c16ab74be6a157ec4e0d193565e6189dfae84e\
    31e7253c563a7ceb0e78de5c4dc57d3bce4ae4db6a8da7eb5deff05ce88a89c1cbfc74c6bb64bee03918\
    13ed86140516c3a9983c7eb24dae62c8ae22da5567e672417f76f8870a56e520650fe4fce426ca3d3094\
    55078dc99701e75bc79b38e54f702c0e096fb1c40747f5079733674c31c29a98f031eb33427608e4fd38\
    d0eaef1bb3e0b56935a284217f0a";
/// What it writes on a machine with one.
const WITH_TPM: &str = "\
    4f5554474154450000030009000000be0000000000000007000000006553f1006d756d6261692d303100\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000eea400052ca81de0b56ee4879425fb0ae14ee2b2c0ffc0331ff8d529f5fa\
    44577f97b5e2407f1d0a536e836a918f1931939f5ffd637f52ef46e4a07f655f7ab1f780acdb3b2276ba\
    32621b83a37c2bb8c1d9c66475931db91dae3a34048684b335b0987732dc5ebe19a09c1c22f78ad41078\
    a9700215c322c5b4a89c44231baec8375e3a02cdc6079707e271e6a5c3c894404d1fa055a8aef173350e\
    67d3b23e7c009b4de937c660823577a33c79ab5ecb431cdf1afc14d4905f3806bfaa912be66944c922ed\
    f7fc5efeb423c8f823295bd151af2bc1236aa3c3e4e10eb5f053b3a13f1e0e96fe866a85f5edb0299e0f\
    ce639794afba4ffa2301428a911b";
const PLAIN: &str = "\
    4f555447444556000001000100000020a724c1360b84810522efdf515f5f63e77317a86d80b34a64b9f8\
    ab1a06993aa75555555555555555555555555555555555555555555555555555555555555555";
const TPM: &str = "\
    4f55544744455600000100020000000c3fd9e1fc042d78abb78c8fe4f4ced3d12a5f70fe637e932113cf\
    998e53fb0181000311111100052222222222";

#[test]
fn a_record_has_the_bytes_it_was_released_with() {
    for (uuid, golden) in [(Some(&UUID), WITH_UUID), (None, WITH_TPM)] {
        let key = SealingKey::derive(&SECRET, uuid);
        assert_eq!(to_hex(&emit(&record(), &key).unwrap()), golden);
    }
}

#[test]
fn a_record_of_the_release_is_read() {
    for (uuid, golden) in [(Some(&UUID), WITH_UUID), (None, WITH_TPM)] {
        let key = SealingKey::derive(&SECRET, uuid);
        let old = parse(&from_hex(golden), &key).unwrap();
        assert_eq!(old.generation, 7);
        assert_eq!(old.state.private_key, [0x42; 3]);
        assert_eq!(old.state.ratchet.0, [0x33; 32]);
        assert_eq!(old.state.next.as_ref().unwrap().certificate, [9]);
        assert_eq!(emit(&old, &key).unwrap(), emit(&record(), &key).unwrap());
    }
}

#[test]
fn a_device_secret_has_the_bytes_it_was_released_with() {
    let tpm = DeviceSecret::Tpm {
        public: vec![0x11; 3],
        private: vec![0x22; 5],
    };
    for (secret, golden) in [(DeviceSecret::Plain(SECRET), PLAIN), (tpm, TPM)] {
        let place = emit_device(&secret).unwrap();
        let used = golden.len() / 2;
        assert_eq!(to_hex(&place[..used]), golden);
        assert!(place.len() == DEVICE_LEN && place[used..].iter().all(|byte| *byte == 0));
        let again = parse_device(&from_hex(golden)).unwrap();
        assert_eq!(emit_device(&again).unwrap(), place);
    }
}

const SECRET: [u8; 32] = [0x55; 32];
const UUID: [u8; 16] = *b"an SMBIOS UUID..";

fn record() -> Record {
    let state = State {
        private_key: vec![0x42; 3],
        edge: "edge.example:443".into(),
        identity: Some(Identity {
            ca: vec![1, 2],
            other_ca: vec![8],
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
        next: Some(Next {
            private_key: vec![4, 5],
            certificate: vec![9],
        }),
        ratchet: RatchetValue([0x33; 32]),
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
