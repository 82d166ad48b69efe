use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

#[test]
fn commands_are_the_bytes_of_the_standard() {
    let root = handle(0x8000_0000);
    let secret = &Zeroizing::new([0x5a; SECRET_LEN]);
    let sealed = &Sealed {
        public: alloc::vec![0, 2, 0xbb, 0xbb],
        private: alloc::vec![0, 1, 0xaa],
    };
    let zeros = "00".repeat(32);
    let create_primary = [
        "8002 00000083 00000131 40000001",
        "00000009 40000009 0000 00 0000",
        "0004 0000 0000",
        "005a 0023 000b 00030472 0000 0006 0080 0043 0010 0003 0010",
        &alloc::format!("0020 {zeros} 0020 {zeros}"),
        "0000 00000000",
    ];
    golden(&CreatePrimary, &create_primary);
    let create = [
        "8002 00000057 00000153 80000000",
        "00000009 40000009 0000 00 0000",
        &alloc::format!("0024 0000 0020 {}", "5a".repeat(32)),
        "000e 0008 000b 00000452 0000 0010 0000",
        "0000 00000000",
    ];
    golden(
        &Create {
            parent: root,
            secret,
        },
        &create,
    );
    let load = [
        "8002 00000022 00000157 80000000",
        "00000009 40000009 0000 00 0000",
        "0001 aa 0002 bbbb",
    ];
    golden(
        &Load {
            parent: root,
            sealed,
        },
        &load,
    );
    let unseal = [
        "8002 0000001b 0000015e 80000001",
        "00000009 40000009 0000 00 0000",
    ];
    let object = handle(0x8000_0001);
    golden(&Unseal { object }, &unseal);
    golden(
        &FlushContext { object },
        &["8001 0000000e 00000165 80000001"],
    );
}

#[test]
fn a_response_with_a_root_key_is_read_and_one_with_another_kind_of_key_is_not() {
    let response = primary_response();
    let primary = CreatePrimary.parse(&response).unwrap();
    assert_eq!(primary.handle, handle(0x8000_0000));
    assert_eq!(primary.public.len(), 90);
    // Type, hash, attributes, policy, cipher, scheme, curve: each has its place in the public area.
    for at in 20..42 {
        let mut altered = response.clone();
        altered[at] ^= 1;
        assert_eq!(
            CreatePrimary.parse(&altered).unwrap_err(),
            TpmError::Malformed {
                command: "TPM2_CreatePrimary"
            },
            "byte {at}"
        );
    }
}

#[test]
fn a_root_key_of_zeros_is_the_template_sent_back() {
    let mut response = primary_response();
    response[44..76].fill(0);
    response[78..110].fill(0);
    assert!(CreatePrimary.parse(&response).is_err());
}

#[test]
fn a_secret_is_read_whole_or_not_at_all() {
    let unseal = Unseal {
        object: handle(0x8000_0001),
    };
    for len in [0, 31, 32, 33] {
        let data = [7; 33];
        let response = response(&[&size(len), &data[..len]]);
        let secret = unseal.parse(&response);
        assert_eq!(
            secret.ok().map(|secret| *secret),
            (len == 32).then_some([7; 32])
        );
    }
}

#[test]
fn blobs_over_the_limit_or_empty_are_refused() {
    let create = Create {
        parent: handle(0x8000_0000),
        secret: &Secret::default(),
    };
    let blob = [1; BLOB_MAX];
    let max = BLOB_MAX - 2;
    for (private, public, is_good) in [
        (max, max, true),
        (max + 1, 1, false),
        (1, max + 1, false),
        (0, 1, false),
        (1, 0, false),
    ] {
        let (sizes, blobs) = (
            (size(private), size(public)),
            (&blob[..private], &blob[..public]),
        );
        let response = response(&[&sizes.0, blobs.0, &sizes.1, blobs.1]);
        assert_eq!(
            create.parse(&response).is_ok(),
            is_good,
            "{private} {public}"
        );
    }
}

#[test]
fn a_response_that_announces_more_or_less_than_it_has_is_refused_with_both_numbers() {
    let object = handle(0x8000_0001);
    for (announced, len) in [(9, 10), (11, 10), (u32::MAX, 10), (10, 11), (4097, 4097)] {
        let mut response = alloc::vec![0; len];
        response[..2].copy_from_slice(&[0x80, 0x01]);
        response[2..6].copy_from_slice(&u32::to_be_bytes(announced));
        let refused = FlushContext { object }.parse(&response);
        assert_eq!(refused, Err(TpmError::Length { announced, len }));
    }
    assert_eq!(announced_len(&[0x80, 1, 0, 0, 0, 10]), Ok(10));
    assert!(announced_len(&[0x80, 1, 0, 0, 0]).is_err());
}

#[test]
fn a_code_names_its_command_and_what_it_means() {
    let unseal = Unseal {
        object: handle(0x8000_0001),
    };
    let error = |code: u32| {
        let mut response = alloc::vec![0x80, 0x01, 0, 0, 0, 10];
        response.extend_from_slice(&code.to_be_bytes());
        unseal.parse(&response).unwrap_err()
    };
    assert_eq!(
        error(0x1df).to_string(),
        "TPM2_Unseal: the TPM answers 0x1df (TPM_RC_INTEGRITY: sealed by another TPM, or before a clear)"
    );
    assert_eq!(
        error(0x18b).to_string(),
        "TPM2_Unseal: the TPM answers 0x18b"
    );
    assert!(error(0x1df).is_of_another_tpm() && error(0x9f).is_of_another_tpm());
    assert!(!error(0x91f).is_of_another_tpm() && !error(0x7_009f).is_of_another_tpm());
    for code in [0x908, 0x90a, 0x920, 0x922] {
        assert!(error(code).is_transient(), "{code:#x}");
    }
    for code in [0x1df, 0x101, 0x902, 0x921, 0x7_0922] {
        assert!(!error(code).is_transient(), "{code:#x}");
    }
}

#[test]
fn debug_output_has_no_secret() {
    let create = Create {
        parent: handle(0x8000_0000),
        secret: &Zeroizing::new([42; SECRET_LEN]),
    };
    let sealed = Sealed {
        public: alloc::vec![42; 9],
        private: alloc::vec![42; 9],
    };
    let text = alloc::format!("{create:?} {sealed:?}");
    assert!(!text.contains("42"), "{text}");
}

proptest! {
    #[test]
    fn any_response_is_handled(data: Vec<u8>) {
        fuzz_tpm(&data);
    }

    #[test]
    fn blobs_of_any_length_are_read_and_loaded(private in 1..300usize, public in 1..300usize) {
        let parameters = [&size(private)[..], &alloc::vec![1; private], &size(public), &alloc::vec![2; public]];
        let data = body(&parameters);
        fuzz_tpm(&data);
    }
}

fn golden<C: Command>(command: &C, lines: &[&str]) {
    let wanted: String = lines.concat().replace(' ', "");
    let bytes = command.emit();
    let found: String = bytes
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect();
    assert_eq!(found, wanted, "{}", C::NAME);
}

/// A handle as a response to `TPM2_Load` gives it.
fn handle(number: u32) -> Handle {
    let sealed = &Sealed {
        public: Vec::new(),
        private: Vec::new(),
    };
    let load = Load {
        parent: Handle::default(),
        sealed,
    };
    let response = whole(&[&number.to_be_bytes(), &body(&[])]);
    load.parse(&response).unwrap()
}

fn primary_response() -> Vec<u8> {
    let mut public = CreatePrimary.emit()[35..125].to_vec();
    public[24..56].fill(3);
    public[58..90].fill(4);
    whole(&[
        &0x8000_0000u32.to_be_bytes(),
        &body(&[&size(public.len()), &public]),
    ])
}

/// A response with sessions and without a handle.
fn response(parameters: &[&[u8]]) -> Vec<u8> {
    whole(&[&body(parameters)])
}

/// Parameters behind their length, and the answer to an empty password.
fn body(parameters: &[&[u8]]) -> Vec<u8> {
    let parameters = parameters.concat();
    let len = u32::try_from(parameters.len()).unwrap();
    [&len.to_be_bytes()[..], &parameters, &[0, 0, 1, 0, 0]].concat()
}

fn whole(parts: &[&[u8]]) -> Vec<u8> {
    wire::command(wire::SESSIONS, 0, parts).to_vec()
}

fn size(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap().to_be_bytes()
}
