//! The body of the fuzz target `tpm`.

use super::wire::{self, NO_SESSIONS, SESSIONS};
use super::{
    BLOB_MAX, Command, Create, CreatePrimary, FlushContext, Handle, Load, SECRET_LEN, Secret,
    Unseal,
};

/// Any bytes as a response to each command, as they are and behind a header that fits; never a panic,
/// never a blob over the limit. A response of which the last byte is missing is never one. Blobs that
/// were read are in the command that loads them, and a secret that was read is in the one that seals it.
///
/// # Panics
/// If one of these does not hold.
pub fn fuzz_tpm(data: &[u8]) {
    read(data);
    for tag in [NO_SESSIONS, SESSIONS] {
        // A response has the form of a command, with code 0: success.
        read(&wire::command(tag, 0, &[data]));
    }
}

fn read(response: &[u8]) {
    let primary = parse(&CreatePrimary, response);
    let parent = primary.map_or_else(Handle::default, |primary| primary.handle);
    let secret = &Secret::default();
    let _ = parse(&FlushContext { object: parent }, response);
    if let Some(sealed) = parse(&Create { parent, secret }, response) {
        let lens = [sealed.public.len(), sealed.private.len()];
        assert!(lens.iter().all(|len| (3..=BLOB_MAX).contains(len)));
        let load = Load {
            parent,
            sealed: &sealed,
        };
        assert!(
            load.emit()
                .ends_with(&[&sealed.private[..], &sealed.public].concat())
        );
        let _ = parse(&load, response);
    }
    if let Some(secret) = parse(&Unseal { object: parent }, response) {
        let secret = &secret;
        let bytes = Create { parent, secret }.emit();
        assert!(
            bytes
                .windows(SECRET_LEN)
                .any(|window| window == &secret[..])
        );
    }
}

fn parse<C: Command>(command: &C, response: &[u8]) -> Option<C::Answer> {
    let answer = command.parse(response).ok();
    if let Some((_, cut)) = response.split_last().filter(|_| answer.is_some()) {
        assert!(command.parse(cut).is_err(), "{} of a part", C::NAME);
    }
    answer
}
