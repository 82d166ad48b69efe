//! Any answer of a proxy: the body of the fuzz target `proxy`.

use connector_proto::time::Instant;
use zeroize::Zeroizing;

use super::connect::{Connect, HEAD_MAX};
use super::{Credentials, Proxy, ProxyError};

/// Feeds an answer to the machine, at once and byte by byte.
///
/// # Panics
/// If the portions make a difference, more than the head is taken, what a proxy said reaches an error
/// unescaped or at length, or the machine panics itself.
pub fn fuzz_proxy(data: &[u8]) {
    let (choice, answer) = data.split_first().unwrap_or((&0, &[]));
    let with_credentials = choice & 1 != 0;
    let mut connect = machine(with_credentials);
    let mut rest = answer;
    let result = connect.handle_input(&mut rest);
    let taken = answer.len() - rest.len();
    assert!(taken <= HEAD_MAX + 1, "{taken} bytes were taken");
    if result == Ok(true) {
        assert!(answer[..taken].ends_with(b"\n"));
    }
    if let Err(error) = &result {
        check(error);
    }
    let mut connect = machine(with_credentials);
    let mut slow = Ok(false);
    let mut slowly_taken = 0;
    for byte in answer {
        let mut one = std::slice::from_ref(byte);
        slow = connect.handle_input(&mut one);
        slowly_taken += 1;
        if slow != Ok(false) {
            break;
        }
    }
    // The rest of a portion is shown too, which is all that a portion's size may change.
    let without_seen = |result| match result {
        Err(ProxyError::NotHttp { .. }) => Err(ProxyError::NotHttp {
            seen: String::new(),
        }),
        other => other,
    };
    assert_eq!(
        (without_seen(slow), slowly_taken),
        (without_seen(result), taken)
    );
}

fn machine(with_credentials: bool) -> Connect {
    let credentials = with_credentials.then(|| Credentials {
        user: Zeroizing::new("mona".into()),
        password: Zeroizing::new("sesame".into()),
    });
    let proxy = Proxy {
        host: "proxy.example".into(),
        port: 3128,
        text: Default::default(),
        credentials,
    };
    let connect = Connect::new(Instant::default(), &proxy, "edge.example", 443);
    connect.unwrap_or_else(|error| panic!("an ordinary name is refused: {error}"))
}

fn check(error: &ProxyError) {
    let sentence = error.to_string();
    assert!(sentence.len() < 160, "{sentence:?}");
    assert!(
        sentence.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "unprintable: {sentence:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_an_answer_or_a_typed_error(
            data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            fuzz_proxy(&data);
        }

        #[test]
        fn what_looks_like_an_answer_is_one_or_a_typed_error(
            lines in proptest::collection::vec(
                prop_oneof![
                    "HTTP/1\\.[01] [1-5][0-9]{2}[ -~]{0,40}",
                    "Proxy-Authenticate: (Basic|NTLM|Digest)[ -~\u{80}-\u{ff}]{0,60}",
                    "[A-Za-z-]{1,12}:[ -~\t]{0,60}",
                    Just(String::new()),
                ],
                0..12,
            ),
            choice: u8,
            end in prop_oneof![Just("\r\n"), Just("\n")],
        ) {
            let answer = lines.join(end) + end;
            fuzz_proxy(&[&[choice], answer.as_bytes()].concat());
        }

        #[test]
        fn the_tunnels_bytes_are_left_whole(
            fields in proptest::collection::vec("[A-Za-z-]{1,12}: [ -~]{0,60}", 0..6),
            tunnel in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut answer = b"HTTP/1.1 200 Connection established\r\n".to_vec();
            for field in fields {
                answer.extend_from_slice(field.as_bytes());
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"\r\n");
            answer.extend_from_slice(&tunnel);
            let mut rest = answer.as_slice();
            prop_assert_eq!(machine(false).handle_input(&mut rest), Ok(true));
            prop_assert_eq!(rest, tunnel.as_slice());
        }
    }
}
