//! The bytes of every message, for good: a change here breaks every appliance in the field.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use connector_proto::frame::Frame;
use connector_proto::message::{
    Attach, Capacity, Close, CloseCode, EnrolAccepted, EnrolHello, EnrolProof, EnrolRefusal,
    EnrolRefused, EnrolRequest, Fingerprint, Hello, KNOWN, Message, OpenSession, PathProbe,
    PathProbeReply, Ping, Pong, RETIRED, Ratchet, RatchetStored, RatchetValue, Ready, Recognised,
    RenewAccepted, RenewRefusal, RenewRefused, RenewRequest, SessionRefusal, SessionRefused,
    Succeed, TimeReply, TimeRequest, Trust, TrustStored, Verdict, Welcome, probe,
};
use connector_proto::time::UnixSeconds;

const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [0, 0x50, 0x56, 1, 2, 3],
    smbios_uuid: [0xab; 16],
    vm_generation: [0xcd; 16],
    tpm: [0xef; 32],
};

/// [`FINGERPRINT`] on the wire.
fn fingerprint() -> String {
    [
        "005056010203",
        &"ab".repeat(16),
        &"cd".repeat(16),
        &"ef".repeat(32),
    ]
    .concat()
}

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
            "020908{}{}{}",
            fingerprint(),
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
    for (reason, hex) in [
        (EnrolRefusal::KeyUnknown, "00"),
        (EnrolRefusal::KeySpent { max_uses: 1 }, "0101"),
        (
            EnrolRefusal::KeyExpired {
                at: UnixSeconds(300),
            },
            "02ac02",
        ),
        (EnrolRefusal::KeyRevoked, "03"),
        (EnrolRefusal::RequestInvalid, "04"),
        (EnrolRefusal::TryLater, "05"),
    ] {
        golden.check(&EnrolRefused { reason }, hex);
    }
    golden.check(
        &Hello {
            version: "0.1.0",
            fingerprint: FINGERPRINT,
            ratchet: RatchetValue([0x12; 32]),
        },
        &format!("05302e312e30{}{}", fingerprint(), "12".repeat(32)),
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
    golden.check(&Ready {}, "");
    golden.check(
        &Attach {
            session: [0x88; 16],
            channel: 300,
        },
        &format!("{}ac02", "88".repeat(16)),
    );
    golden.check(&Capacity { sessions: 9000 }, "a846");
    golden.check(
        &Succeed {
            session: [0x88; 16],
            channel: 300,
        },
        &format!("{}ac02", "88".repeat(16)),
    );
    golden.check(&TimeRequest { nonce: [0x99; 32] }, &"99".repeat(32));
    golden.check(
        &TimeReply {
            nonce: [0xaa; 32],
            time_us: 1_700_000_000_123_456,
        },
        &format!("{}c0c480c1c1c48203", "aa".repeat(32)),
    );
    check_identity(&mut golden);
    check_renewal(&mut golden);
    golden.every_known_message_was_checked();
}

fn check_identity(golden: &mut Golden) {
    for (verdict, admitted, hex) in [
        (Verdict::SameMachine, true, "0001"),
        (Verdict::MovedNic, false, "0100"),
        (Verdict::Reverted, true, "0201"),
        (Verdict::Copy, false, "0300"),
        (Verdict::RestoredBackup, false, "0400"),
    ] {
        golden.check(&Recognised { verdict, admitted }, hex);
    }
    golden.check(
        &Ratchet {
            step: 300,
            value: RatchetValue([0x34; 32]),
        },
        &format!("ac02{}", "34".repeat(32)),
    );
    golden.check(&RatchetStored { step: 1 }, "01");
    golden.check(
        &Trust {
            ca: &[1, 2],
            other_ca: &[3],
        },
        "0201020103",
    );
    let digest = [0x56; 32];
    golden.check(&TrustStored { digest }, &"56".repeat(32));
}

fn check_renewal(golden: &mut Golden) {
    golden.check(
        &RenewRequest {
            csr: &[9, 8],
            fingerprint: FINGERPRINT,
            ratchet: RatchetValue([0x12; 32]),
        },
        &format!("020908{}{}", fingerprint(), "12".repeat(32)),
    );
    golden.check(
        &RenewAccepted {
            certificate: &[5],
            generation: 300,
        },
        "0105ac02",
    );
    let expired_at = UnixSeconds(300);
    for (reason, hex) in [
        (RenewRefusal::Revoked, "00"),
        (RenewRefusal::Disabled, "01"),
        (RenewRefusal::TooLate { expired_at }, "02ac02"),
        (RenewRefusal::Superseded, "03"),
        (RenewRefusal::Held(Verdict::Copy), "0403"),
        (RenewRefusal::RequestInvalid, "05"),
        (RenewRefusal::TryLater, "06"),
    ] {
        golden.check(&RenewRefused { reason }, hex);
    }
}

#[test]
fn known_ids_are_those_that_were_released_in_the_order_of_their_numbers() {
    let ids: Vec<u16> = KNOWN.iter().map(|(id, _)| *id).collect();
    let enrolment = [0x0100, 0x0101, 0x0103, 0x0104, 0x0105];
    let control = (0x0201..=0x020e).chain([0x0210]);
    let released: Vec<u16> = [0x0001]
        .into_iter()
        .chain(enrolment)
        .chain(control)
        .chain([0x0302, 0x0303, 0x0400, 0x0401])
        .chain(0x0500..=0x0502)
        .collect();
    assert_eq!(ids, released);
}

#[test]
fn a_known_id_is_probed_as_its_own_message_and_a_retired_one_is_unknown() {
    for (id, name) in KNOWN {
        let body = [0; 4096];
        let result = probe(Frame {
            id: *id,
            body: &body,
        });
        // No message is 4 KiB of zeros, but one with nothing to check in it may be its start.
        assert!(matches!(result, Some(Err(_))), "{name}: {result:?}");
    }
    assert_eq!(RETIRED, [0x0102, 0x0200, 0x020f, 0x0300, 0x0301]);
    for id in RETIRED {
        assert_eq!(probe(Frame { id, body: &[] }), None, "{id:#06x}");
        assert!(KNOWN.iter().all(|(known, _)| *known != id), "{id:#06x}");
    }
}

#[test]
fn trust_is_answered_with_the_digest_of_both_digests() {
    // printf 'ca' | sha256sum, printf '' | sha256sum, and the sum of the two sums' bytes.
    let trust = Trust {
        ca: b"ca",
        other_ca: b"",
    };
    assert_eq!(
        to_hex(&trust.digest()),
        "694dcf7719a2d77e8477ddb88fd03bb97babec4262952512ddb5e69dd78c9d68"
    );
    let moved = Trust {
        ca: b"",
        other_ca: b"ca",
    };
    assert_ne!(
        trust.digest(),
        moved.digest(),
        "which of them issues matters"
    );
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
        CloseCode::Disabled,
        CloseCode::Revoked,
        CloseCode::Held,
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
