//! The bytes of every message, for good: a change here breaks every appliance in the field.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use connector_proto::frame::Frame;
use connector_proto::message::{
    Attach, Attached, Close, CloseCode, EnrolAccepted, EnrolHello, EnrolProof, EnrolRefusal,
    EnrolRefused, EnrolRequest, Fingerprint, Hello, KNOWN, Message, OpenSession, PathProbe,
    PathProbeReply, Ping, Pong, SessionRefusal, SessionRefused, TimeReply, TimeRequest, Welcome,
};
use connector_proto::time::UnixSeconds;

const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [0, 0x50, 0x56, 1, 2, 3],
    smbios_uuid: [0xab; 16],
    vm_generation: [0; 16],
    tpm: [0; 32],
};

#[test]
fn every_message_has_the_bytes_it_was_released_with() {
    let mut golden = Golden::default();
    golden.check(
        &Close {
            code: CloseCode::GoingAway,
            detail: "bye",
        },
        "0103627965",
    );
    golden.check(&EnrolHello { key_id: [0x11; 16] }, &"11".repeat(16));
    golden.check(
        &EnrolProof {
            ca: &[1, 2, 3],
            time: UnixSeconds(1_700_000_000),
            mac: [0x22; 32],
        },
        &format!("03010203{}{}", "80e2cfaa06", "22".repeat(32)),
    );
    golden.check(
        &EnrolRequest {
            csr: &[9, 8],
            fingerprint: FINGERPRINT,
            signature_r: [0x33; 32],
            signature_s: [0x44; 32],
        },
        &format!(
            "020908{}{}{}{}",
            "005056010203",
            "ab".repeat(16),
            "33".repeat(32),
            "44".repeat(32)
        ),
    );
    golden.check(
        &EnrolAccepted {
            certificate: &[5],
            connector_id: [0x55; 16],
            name: "mumbai-01",
            group: "Mumbai",
            grant_key: [0x66; 32],
        },
        &format!(
            "0105{}{}{}{}",
            "55".repeat(16),
            "096d756d6261692d3031",
            "064d756d626169",
            "66".repeat(32)
        ),
    );
    golden.check(
        &EnrolRefused {
            reason: EnrolRefusal::KeyUnknown,
        },
        "00",
    );
    golden.check(
        &EnrolRefused {
            reason: EnrolRefusal::KeySpent { max_uses: 1 },
        },
        "0101",
    );
    golden.check(
        &EnrolRefused {
            reason: EnrolRefusal::KeyExpired {
                at: UnixSeconds(300),
            },
        },
        "02ac02",
    );
    golden.check(
        &EnrolRefused {
            reason: EnrolRefusal::KeyRevoked,
        },
        "03",
    );
    golden.check(
        &EnrolRefused {
            reason: EnrolRefusal::RequestInvalid,
        },
        "04",
    );
    golden.check(
        &EnrolRefused {
            reason: EnrolRefusal::TryLater,
        },
        "05",
    );
    golden.check(
        &Hello {
            version: "0.1.0",
            fingerprint: FINGERPRINT,
        },
        &format!("05302e312e30{}{}", "005056010203", "ab".repeat(16)),
    );
    golden.check(
        &Welcome {
            name: "a",
            group: "b",
            reconnect_spread_ms: 2_000,
            reconnect_cap_ms: 30_000,
        },
        "01610162d00fb0ea01",
    );
    golden.check(&Ping { nonce: 300 }, "ac02");
    golden.check(&Pong { nonce: 0 }, "00");
    golden.check(&OpenSession { grant: &[7, 7] }, "020707");
    golden.check(
        &SessionRefused {
            session: [0x77; 16],
            reason: SessionRefusal::AddressDenied,
            detail: "no",
        },
        &format!("{}01026e6f", "77".repeat(16)),
    );
    golden.check(
        &PathProbe {
            nonce: 300,
            padding: &[0; 3],
        },
        "ac0203000000",
    );
    golden.check(
        &PathProbeReply {
            nonce: 300,
            padding: &[0; 3],
        },
        "ac0203000000",
    );
    golden.check(
        &Attach {
            session: [0x88; 16],
        },
        &"88".repeat(16),
    );
    golden.check(&Attached {}, "");
    golden.check(&TimeRequest { nonce: [0x99; 32] }, &"99".repeat(32));
    golden.check(
        &TimeReply {
            nonce: [0xaa; 32],
            time_us: 1_700_000_000_123_456,
        },
        &format!("{}c0c480c1c1c48203", "aa".repeat(32)),
    );
    golden.every_known_message_was_checked();
}

#[test]
fn close_codes_keep_their_numbers() {
    let codes = [
        CloseCode::Normal,
        CloseCode::GoingAway,
        CloseCode::FrameLength,
        CloseCode::InvalidMessage,
        CloseCode::UnexpectedMessage,
        CloseCode::UnknownMessage,
        CloseCode::TimedOut,
        CloseCode::ProofInvalid,
        CloseCode::NotAuthorised,
        CloseCode::Replaced,
        CloseCode::UnknownSession,
        CloseCode::InternalError,
    ];
    for (number, code) in codes.iter().enumerate() {
        let bytes = postcard::to_allocvec(code).unwrap();
        assert_eq!(bytes, [u8::try_from(number).unwrap()], "{code:?}");
    }
}

#[derive(Default)]
struct Golden {
    checked: Vec<u16>,
}

impl Golden {
    fn check<'a, M: Message<'a> + PartialEq + std::fmt::Debug>(&mut self, message: &M, hex: &str) {
        let bytes = postcard::to_allocvec(message).unwrap();
        let name = KNOWN
            .iter()
            .find(|(id, _)| *id == M::ID)
            .map(|(_, name)| *name);
        assert_eq!(to_hex(&bytes), hex, "{name:?}");
        let leaked: &'static [u8] = Vec::leak(bytes);
        assert_eq!(
            M::decode(Frame {
                id: M::ID,
                body: leaked
            })
            .as_ref(),
            Ok(message)
        );
        self.checked.push(M::ID);
    }

    fn every_known_message_was_checked(&self) {
        for (id, name) in KNOWN {
            assert!(self.checked.contains(id), "{name} has no golden bytes");
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
