//! The block, its damage, and what GRUB makes of it.

use super::*;
use proptest::prelude::*;

#[test]
fn a_block_is_the_bytes_grub_editenv_would_write() {
    let mut env = GrubEnv::new();
    env.set("good", "a").unwrap();
    env.set("left", "0").unwrap();
    let block = env.emit();
    let text = b"# GRUB Environment Block\ngood=a\nleft=0\n";
    assert_eq!(&block[..text.len()], text);
    assert!(block[text.len()..].iter().all(|byte| *byte == b'#'));
}

#[test]
fn setting_a_key_again_keeps_its_place() {
    let mut env = GrubEnv::new();
    env.set("trial", "b").unwrap();
    env.set("left", "3").unwrap();
    env.set("trial", "").unwrap();
    assert_eq!(env.get("trial"), Some(""));
    assert!(
        env.emit()
            .starts_with(b"# GRUB Environment Block\ntrial=\nleft=3\n#")
    );
    env.unset("trial");
    assert_eq!(env.get("trial"), None);
}

#[test]
fn a_full_block_refuses_one_more_byte_and_stays_as_it_was() {
    let mut env = GrubEnv::new();
    let room = BLOCK_BYTES - SIGNATURE.len() - line_bytes("k", "");
    env.set("k", &"v".repeat(room)).unwrap();
    assert_eq!(
        env.set("x", ""),
        Err(GrubEnvError::Full {
            key: "x".into(),
            bytes: 1027
        })
    );
    assert_eq!(GrubEnv::parse(&env.emit()), Ok(env));
}

#[test]
fn characters_that_grub_escapes_are_refused() {
    let mut env = GrubEnv::new();
    assert!(env.set("key", "back\\slash").is_err());
    assert!(env.set("key", "two\nlines").is_err());
    assert!(env.set("a=b", "value").is_err());
    assert!(env.set("", "value").is_err());
    assert_eq!(env, GrubEnv::new());
}

#[test]
fn a_destroyed_block_is_an_error_that_says_so() {
    assert_eq!(GrubEnv::parse(&[0; 1024]), Err(GrubEnvError::Signature));
    assert_eq!(
        GrubEnv::parse(&[b'#'; 10]),
        Err(GrubEnvError::Truncated { bytes: 10 })
    );
}

#[test]
fn lines_that_grub_would_misread_are_refused() {
    for text in ["\ngood=b\n", "good=b\n\n"] {
        let mut block = SIGNATURE.to_vec();
        block.extend(text.as_bytes());
        block.resize(BLOCK_BYTES, b'#');
        let parsed = GrubEnv::parse(&block);
        assert!(matches!(parsed, Err(GrubEnvError::Line { .. })), "{text:?}");
    }
    // No line end before the block's.
    let mut block = SIGNATURE.to_vec();
    block.extend(b"good=");
    block.resize(BLOCK_BYTES, b'b');
    let parsed = GrubEnv::parse(&block);
    assert_eq!(parsed, Err(GrubEnvError::Line { line: 2 }));
}

#[test]
fn a_damaged_block_is_read_as_grub_reads_it() {
    let salvage = |text: &str| {
        let mut block = SIGNATURE.to_vec();
        block.extend(text.as_bytes());
        block.resize(BLOCK_BYTES, b'#');
        let env = GrubEnv::salvage(&block).unwrap();
        let pairs = env.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    };
    // A value that cannot be one, and a line that swallows the next.
    assert_eq!(salvage("good=b\nname=\u{1}\nleft=1\n"), "good=b left=1");
    assert_eq!(salvage("good<b\ntrial=a\nleft=1\n"), "left=1");
    // The last of two counts, even if it is nonsense; an escape hides a line end.
    assert_eq!(salvage("good=b\ngood=a\n"), "good=a");
    assert_eq!(salvage("good=b\ngood=\u{1}\n"), "");
    assert_eq!(salvage("left=\\\ngood=b\ntrial=a\n"), "trial=a");
    assert_eq!(salvage("#left=1\n\ngood=b\n"), "");
    assert_eq!(GrubEnv::salvage(&[b'#'; BLOCK_BYTES]), None);
}

proptest! {
    #[test]
    fn no_lines_make_the_reader_panic(lines in proptest::collection::vec(any::<u8>(), 0..1100)) {
        let mut data = SIGNATURE.to_vec();
        data.extend(lines);
        data.resize(data.len().max(BLOCK_BYTES), b'#');
        fuzz_grubenv(&data);
    }

    #[test]
    fn no_plausible_lines_are_read_in_two_ways(text in "([#\\\\=ab\n]{0,9}|a=b\n|b=\n){0,9}") {
        let mut data = SIGNATURE.to_vec();
        data.extend(text.as_bytes());
        data.resize(BLOCK_BYTES, b'#');
        fuzz_grubenv(&data);
    }

    #[test]
    fn what_is_set_is_read_back(key in "[a-z_]{1,9}", value in "[ -\\[\\]-~]{0,99}") {
        let mut env = GrubEnv::new();
        env.set(&key, &value).unwrap();
        let read = GrubEnv::parse(&env.emit()).unwrap();
        prop_assert_eq!(read.get(&key), Some(value.as_str()));
    }
}
