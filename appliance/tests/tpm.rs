//! A TPM that is hostile, broken or hangs: a typed error in bounded time, whatever it says.
//!
//! One that works is in `tests/tests/tpm.rs`.
#![expect(clippy::unwrap_used, reason = "a panic is the test's report")]

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use appliance::tpm::{Tpm, TpmFault};
use connector_proto::tpm::TpmError;

/// How long the TPM is waited for in these tests.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ample for what is bounded by it, on a busy machine.
const BOUND: Duration = Duration::from_secs(10);

const CREATE_PRIMARY: u32 = 0x131;
const CREATE: u32 = 0x153;
const LOAD: u32 = 0x157;
const UNSEAL: u32 = 0x15e;
const FLUSH: u32 = 0x165;

const TESTING: u32 = 0x90a;
const INTEGRITY: u32 = 0x1df;

#[test]
fn a_tpm_that_says_nothing_is_given_up_in_time_and_not_asked_again() {
    let (near, _far) = UnixStream::pair().unwrap();
    let begun = Instant::now();
    let fault = Tpm::open_with_patience(near.into(), PATIENCE).unwrap_err();
    assert!(matches!(fault, TpmFault::Silent), "{fault}");
    assert!((PATIENCE..BOUND).contains(&begun.elapsed()));
}

#[test]
fn a_tpm_that_falls_silent_later_is_silent_for_good() {
    let mut tpm = open(|command| match command {
        CREATE => None,
        other => Some(good(other)),
    })
    .unwrap();
    assert!(matches!(tpm.seal(&[7; 32]), Err(TpmFault::Silent)));
    let begun = Instant::now();
    assert!(matches!(tpm.seal(&[7; 32]), Err(TpmFault::Silent)));
    assert!(begun.elapsed() < PATIENCE, "it was asked again");
}

#[test]
fn a_tpm_that_is_busy_is_asked_again_and_one_that_stays_busy_is_named() {
    let mut refusals = 3;
    let tpm = open(move |command| {
        refusals -= 1;
        Some(if refusals >= 0 {
            code(TESTING)
        } else {
            good(command)
        })
    });
    assert_ne!(tpm.unwrap().storage_key_hash(), [0; 32]);
    let begun = Instant::now();
    let fault = open(|_| Some(code(TESTING))).unwrap_err();
    assert!(fault.to_string().contains("TPM_RC_TESTING"), "{fault}");
    assert!(begun.elapsed() < BOUND);
}

#[test]
fn garbage_short_and_endless_answers_are_typed_errors() {
    let answers: [&[u8]; 8] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0; 10],
        &[0xff; 4096],
        &[0x80, 0x02, 0, 0, 0, 9, 0, 0, 0, 0],
        &[0x80, 0x02, 0, 0, 0x10, 1, 0, 0, 0, 0],
        // Success without a word more, and one with a word too much.
        &[0x80, 0x02, 0, 0, 0, 10, 0, 0, 0, 0],
        &[0x80, 0x02, 0, 0, 0, 10, 0, 0, 0, 0, 0],
        // A TPM 1.2's answer to a command that it does not know.
        &[0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x1e],
    ];
    for answer in answers {
        let answer = answer.to_vec();
        let begun = Instant::now();
        let fault = open(move |_| Some(answer.clone())).unwrap_err();
        assert!(
            matches!(fault, TpmFault::Answer(_) | TpmFault::Io(_)),
            "{fault}"
        );
        assert!(begun.elapsed() < BOUND);
    }
}

#[test]
fn a_device_that_ends_in_the_middle_of_an_answer_says_after_how_many_bytes() {
    for len in 0..good(CREATE_PRIMARY).len() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let serve = thread::spawn(move || {
            let command = read_command(&mut far).unwrap();
            far.write_all(&good(command)[..len]).unwrap();
        });
        let fault = Tpm::open_with_patience(near.into(), BOUND).unwrap_err();
        let said = fault.to_string();
        assert!(said.contains(&format!("after {len} bytes")), "{said}");
        serve.join().unwrap();
    }
}

#[test]
fn each_command_that_is_refused_is_an_error_that_names_it() {
    let names = [
        (CREATE, "TPM2_Create:"),
        (LOAD, "TPM2_Load:"),
        (UNSEAL, "TPM2_Unseal:"),
    ];
    for (refused, name) in names {
        let mut tpm = open(move |command| {
            Some(if command == refused {
                code(INTEGRITY)
            } else {
                good(command)
            })
        })
        .unwrap();
        let fault = tpm.seal(&[7; 32]).unwrap_err();
        assert!(fault.to_string().starts_with(name), "{fault}");
        assert!(matches!(fault, TpmFault::Answer(TpmError::Code { .. })));
        assert!(fault.is_of_another_tpm());
    }
}

#[test]
fn what_does_not_come_back_as_it_was_sealed_is_not_relied_upon() {
    let mut tpm = open(|command| Some(good(command))).unwrap();
    assert!(tpm.seal(&[7; 32]).is_ok());
    assert!(matches!(tpm.seal(&[8; 32]), Err(TpmFault::NotKept)));
}

#[test]
fn nothing_is_left_in_the_tpms_memory_whatever_fails() {
    for refused in [0, CREATE, LOAD, UNSEAL] {
        let (report, held) = std::sync::mpsc::channel();
        let mut objects = 0;
        let mut tpm = open(move |command| {
            if command == refused {
                return Some(code(INTEGRITY));
            }
            match command {
                CREATE_PRIMARY | LOAD => objects += 1,
                FLUSH => objects -= 1,
                _ => {}
            }
            report.send(objects).unwrap();
            Some(good(command))
        })
        .unwrap();
        assert_eq!(tpm.seal(&[7; 32]).is_ok(), refused == 0);
        assert_eq!(held.try_iter().last(), Some(0), "{refused:#x} refused");
    }
}

/// A TPM that answers each command as `answer` says, `None` for silence.
fn open(answer: impl FnMut(u32) -> Option<Vec<u8>> + Send + 'static) -> Result<Tpm, TpmFault> {
    Tpm::open_with_patience(stand_in(answer), PATIENCE)
}

fn stand_in(answer: impl FnMut(u32) -> Option<Vec<u8>> + Send + 'static) -> OwnedFd {
    let (near, far) = UnixStream::pair().unwrap();
    thread::spawn(move || serve(far, answer));
    near.into()
}

fn serve(mut far: UnixStream, mut answer: impl FnMut(u32) -> Option<Vec<u8>>) {
    while let Some(command) = read_command(&mut far) {
        // An answer that nobody waits for any more has no reader.
        if let Some(answer) = answer(command) {
            let _ = far.write_all(&answer);
        }
    }
}

/// The next command's code.
fn read_command(far: &mut UnixStream) -> Option<u32> {
    let mut header = [0; 10];
    far.read_exact(&mut header).ok()?;
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let rest = usize::try_from(number(2)).unwrap() - header.len();
    far.read_exact(&mut vec![0; rest]).ok()?;
    Some(number(6))
}

fn code(code: u32) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}

/// What a TPM says that works, and has sealed 32 times 7.
fn good(command: u32) -> Vec<u8> {
    let handle = [0x80, 0, 0, 0];
    let public = [
        &[
            0, 90, 0, 0x23, 0, 0x0b, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 0x80, 0, 0x43,
        ][..],
        &[0, 0x10, 0, 3, 0, 0x10, 0, 32],
        &[3; 32],
        &[0, 32],
        &[4; 32],
    ]
    .concat();
    let blobs = [&[0, 2, 5, 5][..], &[0, 3, 6, 6, 6]].concat();
    let secret = [&[0, 32][..], &[7; 32]].concat();
    match command {
        CREATE_PRIMARY => success(&handle, Some(&public)),
        CREATE => success(&[], Some(&blobs)),
        LOAD => success(&handle, Some(&[0, 0])),
        UNSEAL => success(&[], Some(&secret)),
        _ => success(&[], None),
    }
}

/// A response with a handle and parameters, if there are any.
fn success(handle: &[u8], parameters: Option<&[u8]>) -> Vec<u8> {
    let len = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let parameters =
        parameters.map(|bytes| [&len(bytes.len())[..], bytes, &[0, 0, 1, 0, 0]].concat());
    let tag = [0x80, if parameters.is_some() { 2 } else { 1 }];
    let body = [handle, &parameters.unwrap_or_default()].concat();
    [&tag[..], &len(10 + body.len()), &[0; 4], &body].concat()
}
