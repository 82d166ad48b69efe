//! A signed OVA, by a key that openssl made, checked by openssl.

use std::path::Path;
use std::process::Command;

use disk_format::tar;
use image_builder::build::{CERT, OVA, Signing, build};
use image_builder::ova::Ova;
use image_builder::sign::{SignError, Signer, verify};
use ovf::certificate::Certificate;

use crate::skip::has_program;
use crate::support::{TempDir, artefact, has_grub, options, try_built};

#[test]
fn openssl_verifies_the_signature_over_the_manifest() {
    let name = "openssl_verifies_the_signature_over_the_manifest";
    if !has_grub(name) || !has_openssl(name) {
        return;
    }
    let keys = TempDir::new("openssl-verifies");
    let signer = signer(keys.path(), "publisher");
    let built = try_built("signed", vec![7; 10_000], 2, Some(&signer)).unwrap();
    let entries = tar::parse(artefact(&built, OVA)).unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
    assert_eq!(
        names,
        ["outgate.ovf", "outgate.mf", "outgate.cert", "outgate.vmdk"]
    );

    let certificate = Certificate::parse(artefact(&built, CERT)).unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = keys.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let manifest = write("outgate.mf", artefact(&built, "outgate.mf"));
    let signature = write("signature", &certificate.signature);
    let public = keys.path().join("public.pem");
    openssl(
        keys.path(),
        "x509 -in publisher.crt -noout -pubkey -out public.pem",
    );
    let verdict = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .args([&public])
        .arg("-signature")
        .args([&signature, &manifest])
        .output()
        .unwrap();
    assert!(verdict.status.success(), "{verdict:?}");
}

#[test]
fn a_signature_holds_for_its_manifest_and_for_no_other() {
    let name = "a_signature_holds_for_its_manifest_and_for_no_other";
    if !has_openssl(name) {
        return;
    }
    let keys = TempDir::new("signature-holds");
    let file = signer(keys.path(), "publisher")
        .sign("a.mf", b"manifest")
        .unwrap();
    let signature = verify(&file, "a.mf", b"manifest").unwrap();
    assert_eq!(signature.subject, "CN=publisher");
    assert_eq!(signature.issuer, signature.subject);
    assert_eq!(verify(&file, "a.mf", b"other"), Err(SignError::DoesNotHold));
    assert!(matches!(
        verify(&file, "b.mf", b"manifest"),
        Err(SignError::OtherManifest { .. })
    ));
    // One flipped bit of the signature's first digit.
    let mut flipped = file;
    let digit = flipped.iter().position(|byte| *byte == b' ').unwrap() + 1;
    flipped[digit] = if flipped[digit] == b'0' { b'1' } else { b'0' };
    assert_eq!(
        verify(&flipped, "a.mf", b"manifest"),
        Err(SignError::DoesNotHold)
    );
}

#[test]
fn keys_that_cannot_sign_are_refused_with_the_reason() {
    let name = "keys_that_cannot_sign_are_refused_with_the_reason";
    if !has_openssl(name) {
        return;
    }
    let keys = TempDir::new("refused-keys");
    let [(key, certificate), (other, _)] =
        ["publisher", "other"].map(|name| pair(keys.path(), name));
    let said = |key: &[u8], certificate: &[u8]| {
        let refused = Signer::from_pem(key, certificate).unwrap_err();
        refused.to_string()
    };
    assert!(said(&other, &certificate).contains("CN=publisher"));
    assert!(said(&certificate, &certificate).contains("\"CERTIFICATE\""));
    assert!(said(&key, &key).contains("certificate:"));
    assert!(said(b"no key", &certificate).contains("no PEM block"));
    openssl(
        keys.path(),
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.key",
    );
    let ec = std::fs::read(keys.path().join("ec.key")).unwrap();
    assert!(said(&ec, &certificate).contains("2048 to 4096 bits"));
}

#[test]
fn who_has_no_key_rebuilds_a_signed_ova_with_its_signature() {
    let name = "who_has_no_key_rebuilds_a_signed_ova_with_its_signature";
    if !has_grub(name) || !has_openssl(name) {
        return;
    }
    let keys = TempDir::new("rebuild-signed");
    let kernel = || vec![7; 10_000];
    let signer = signer(keys.path(), "publisher");
    let released = try_built("released", kernel(), 2, Some(&signer)).unwrap();
    let repeating = Signer::repeating(artefact(&released, CERT));
    let rebuilt = try_built("rebuilt", kernel(), 2, Some(&repeating)).unwrap();
    assert!(released == rebuilt);
    let other = try_built("other", vec![8; 10_000], 2, Some(&repeating)).unwrap_err();
    assert!(other.to_string().contains("manifest"), "{other}");
}

#[test]
fn a_signature_does_not_stay_beside_an_unsigned_image() {
    let name = "a_signature_does_not_stay_beside_an_unsigned_image";
    if !has_grub(name) || !has_openssl(name) {
        return;
    }
    let directory = TempDir::new("stale-signature");
    let _ = pair(directory.path(), "publisher");
    let mut options = options(directory.path());
    options.signing = Signing::With {
        key: directory.path().join("publisher.key"),
        certificate: directory.path().join("publisher.crt"),
    };
    build(&options).unwrap();
    let ova = std::fs::read(options.out.join(OVA)).unwrap();
    assert!(Ova::parse(&ova).unwrap().certificate.is_some());
    assert!(options.out.join(CERT).exists());
    options.signing = Signing::None;
    build(&options).unwrap();
    assert!(!options.out.join(CERT).exists());
}

/// A signer whose key and certificate openssl makes in `directory`.
pub fn signer(directory: &Path, name: &str) -> Signer {
    let (key, certificate) = pair(directory, name);
    Signer::from_pem(&key, &certificate).unwrap()
}

/// True when openssl is installed; else the skip of `test` is recorded.
pub fn has_openssl(test: &str) -> bool {
    has_program(test, "openssl", "openssl")
}

/// An RSA key and its self-signed certificate, PEM; also as files `name.key` and `name.crt`.
fn pair(directory: &Path, name: &str) -> (Vec<u8>, Vec<u8>) {
    openssl(
        directory,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={name} -keyout {name}.key -out {name}.crt"
        ),
    );
    let read = |extension| std::fs::read(directory.join(format!("{name}.{extension}"))).unwrap();
    (read("key"), read("crt"))
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
