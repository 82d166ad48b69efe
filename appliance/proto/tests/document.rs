//! `docs/PROTOCOL.md` says what the code does: its tables and test vectors are compared with it, so that
//! somebody else can write an edge from the document alone.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use connector_proto::derive::EnrolSecrets;
use connector_proto::frame;
use connector_proto::grant::{self, Grant, Protocol};
use connector_proto::key::ProvisioningKey;
use connector_proto::limits;
use connector_proto::message::{
    ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, ALPN_RENEW, ALPN_TIME, CloseCode, EXPORTER_LABEL,
    EnrolHello, EnrolProof, EnrolRefusal, EnrolRequest, Fingerprint, KNOWN, Message, RETIRED,
    RenewRefusal, SessionRefusal, Trust, Verdict,
};
use connector_proto::time::UnixSeconds;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Serialize;

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");
const TIME: UnixSeconds = UnixSeconds(1_700_000_000);
const KEYS: [[u8; 14]; 2] = [
    [
        0x1c, 0x2d, 0x3e, 0x4f, 0x50, 0x61, 0x72, 0x83, 0x94, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9,
    ],
    [
        0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
    ],
];

#[test]
fn the_document_lists_every_message_with_its_id_and_every_retired_id() {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let (id, rest) = line.strip_prefix("| `0x")?.split_once("` | ")?;
        let (name, _) = rest.split_once(" |")?;
        Some((u16::from_str_radix(id, 16).unwrap(), name))
    });
    let (retired, known): (Vec<_>, Vec<_>) = rows.partition(|(_, name)| *name == "retired");
    assert_eq!(known, KNOWN);
    let retired: Vec<u16> = retired.into_iter().map(|(id, _)| id).collect();
    assert_eq!(retired, RETIRED);
}

#[test]
fn the_document_numbers_every_variant_as_the_wire_does() {
    let at = UnixSeconds(0);
    assert_numbered(&[
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
    ]);
    assert_numbered(&[
        Verdict::SameMachine,
        Verdict::MovedNic,
        Verdict::Reverted,
        Verdict::Copy,
        Verdict::RestoredBackup,
    ]);
    assert_numbered(&[
        EnrolRefusal::KeyUnknown,
        EnrolRefusal::KeySpent { max_uses: 0 },
        EnrolRefusal::KeyExpired { at },
        EnrolRefusal::KeyRevoked,
        EnrolRefusal::RequestInvalid,
        EnrolRefusal::TryLater,
    ]);
    assert_numbered(&[
        RenewRefusal::Revoked,
        RenewRefusal::Disabled,
        RenewRefusal::TooLate { expired_at: at },
        RenewRefusal::Superseded,
        RenewRefusal::Held(Verdict::Copy),
        RenewRefusal::RequestInvalid,
        RenewRefusal::TryLater,
    ]);
    assert_numbered(&[
        SessionRefusal::GrantInvalid,
        SessionRefusal::AddressDenied,
        SessionRefusal::NameNotFound,
        SessionRefusal::ConnectionRefused,
        SessionRefusal::Unreachable,
        SessionRefusal::TooManySessions,
    ]);
}

#[test]
fn the_document_names_every_protocol_label_and_limit() {
    for alpn in [ALPN_ENROL, ALPN_TIME, ALPN_CONTROL, ALPN_DATA, ALPN_RENEW] {
        says(&format!("| `{}` |", std::str::from_utf8(alpn).unwrap()));
    }
    says(std::str::from_utf8(EXPORTER_LABEL).unwrap());
    for (name, value) in [
        ("message body", limits::FRAME_BODY_MAX.to_string()),
        (
            "certificate or signing request",
            limits::DER_MAX.to_string(),
        ),
        ("name of a connector or group", limits::NAME_MAX.to_string()),
        ("detail", limits::DETAIL_MAX.to_string()),
        ("host", limits::HOST_MAX.to_string()),
        ("grant", limits::GRANT_MAX.to_string()),
        (
            "padding of a path probe",
            limits::PATH_PADDING_LEN.to_string(),
        ),
        ("greeting", format!("{} s", limits::GREETING_MAX.as_secs())),
        (
            "ping interval",
            format!("{} s", limits::PING_INTERVAL.as_secs()),
        ),
        (
            "answer to a probe",
            format!("{} s", limits::PROBE_MAX.as_secs()),
        ),
        (
            "answer of an incumbent",
            format!("{} s", limits::INCUMBENT_MAX.as_secs()),
        ),
        (
            "answer to a path probe",
            format!("{} s", limits::PATH_PROOF_MAX.as_secs()),
        ),
        (
            "life of a grant",
            format!("{} s", limits::GRANT_LIFE.as_secs()),
        ),
        (
            "clock difference of a grant",
            format!("{} s", limits::GRANT_CLOCK_SKEW.as_secs()),
        ),
        (
            "renewal after the end",
            format!("{} d", limits::RENEW_GRACE.as_secs() / 86_400),
        ),
        (
            "held machine asks again",
            format!("{} s", limits::HELD_RETRY.as_secs()),
        ),
        ("grants remembered", limits::GRANTS_REMEMBERED.to_string()),
    ] {
        says(&format!("| {name} | {value} |"));
    }
}

#[test]
fn the_documents_keys_have_the_documents_derivations() {
    for data in KEYS {
        let key = ProvisioningKey::from_data(data).unwrap();
        let secrets = EnrolSecrets::derive(&key);
        says(&block(&[
            ("key", key.to_text().to_string()),
            ("data", hex(&data)),
            ("id", hex(&secrets.id)),
            ("public key", hex(&secrets.signer.public_key())),
            ("proof key", hex(secrets.edge_proof.as_bytes())),
        ]));
    }
}

#[test]
fn the_documents_enrolment_has_the_documents_proofs_and_bytes() {
    let secrets = EnrolSecrets::derive(&ProvisioningKey::from_data(KEYS[0]).unwrap());
    let exporter: [u8; 32] = std::array::from_fn(|place| u8::try_from(place).unwrap());
    let (ca, csr) = (b"the edge's CA", b"a signing request");
    let mac = secrets.edge_proof.proof(&exporter, ca, TIME);
    let signature = secrets.signer.sign(&exporter, csr);
    let (signature_r, signature_s) = signature.split_at(32);
    says(&block(&[
        ("exporter", hex(&exporter)),
        ("ca", hex(ca)),
        ("time", TIME.0.to_string()),
        ("mac", hex(&mac)),
        ("csr", hex(csr)),
        ("signature", hex(&signature)),
        ("EnrolHello", frame_of(&EnrolHello { key_id: secrets.id })),
        (
            "EnrolProof",
            frame_of(&EnrolProof {
                ca,
                time: TIME,
                mac,
            }),
        ),
        (
            "EnrolRequest",
            frame_of(&EnrolRequest {
                csr,
                fingerprint: Fingerprint {
                    mac: [0, 0x50, 0x56, 1, 2, 3],
                    smbios_uuid: [0xab; 16],
                    vm_generation: [0xcd; 16],
                    tpm: [0; 32],
                },
                signature_r: signature_r.try_into().unwrap(),
                signature_s: signature_s.try_into().unwrap(),
            }),
        ),
    ]));
}

#[test]
fn the_documents_grant_has_the_documents_bytes() {
    let seed = [5; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    let grant = Grant {
        connector_id: [1; 16],
        session: [2; 16],
        host: "intranet.corp.example",
        port: 8443,
        protocol: Protocol::Tcp,
        not_after: UnixSeconds(TIME.0 + 60),
    };
    let bytes = grant::sign(&pair, &grant).unwrap();
    assert_eq!(grant::verify(&bytes, &public, &[1; 16], TIME), Ok(grant));
    says(&block(&[
        ("signing seed", hex(&seed)),
        ("grant key", hex(&public)),
        ("connector_id", hex(&grant.connector_id)),
        ("session", hex(&grant.session)),
        ("host", grant.host.into()),
        ("port", grant.port.to_string()),
        ("not_after", grant.not_after.0.to_string()),
        ("grant", hex(&bytes)),
    ]));
}

#[test]
fn the_documents_trust_anchors_have_the_documents_digest() {
    let (ca, other_ca) = (&b"the edge's CA"[..], &b"the next CA"[..]);
    let both = Trust { ca, other_ca };
    let alone = Trust { ca, other_ca: b"" };
    says(&block(&[
        ("ca", hex(ca)),
        ("other_ca", hex(other_ca)),
        ("digest", hex(&both.digest())),
        ("digest alone", hex(&alone.digest())),
    ]));
}

/// Asserts that the document has `text` as it stands, whatever its line breaks.
fn says(text: &str) {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        one_line(DOCUMENT).contains(&one_line(text)),
        "docs/PROTOCOL.md does not say:\n{text}"
    );
}

/// A fenced block of named values.
fn block(values: &[(&str, String)]) -> String {
    let widest = values.iter().map(|(name, _)| name.len()).max().unwrap();
    let lines = values
        .iter()
        .map(|(name, value)| format!("{name:widest$}  {value}\n"));
    format!("```\n{}```", lines.collect::<String>())
}

/// Asserts that the document has `0 First, 1 Second, ..` with these variants, whatever they hold.
fn assert_numbered<T: Serialize + std::fmt::Debug>(variants: &[T]) {
    let listed = variants.iter().enumerate().map(|(number, variant)| {
        let bytes = postcard::to_allocvec(variant).unwrap();
        assert_eq!(usize::from(bytes[0]), number, "{variant:?}");
        let name = format!("{variant:?}");
        let name = name.split([' ', '(']).next().unwrap();
        format!("{number} {name}")
    });
    let words: Vec<&str> = DOCUMENT.split_whitespace().collect();
    let words = words.join(" ");
    for variant in listed {
        assert!(words.contains(&format!(" {variant}")), "{variant}");
    }
}

fn frame_of<'a, M: Message<'a>>(message: &M) -> String {
    let body = postcard::to_allocvec(message).unwrap();
    hex(&frame::encode(M::ID, &body).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
