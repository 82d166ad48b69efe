//! The request for a tunnel, with user and password where the proxy wants them.

use zeroize::Zeroizing;

use super::{Credentials, ProxyError};

/// The bytes of the request (RFC 9110 section 9.3.6, RFC 9112 section 3.2.3).
///
/// # Errors
/// [`ProxyError::Name`] or [`ProxyError::Credentials`] if they would break it.
pub(super) fn request(
    host: &str,
    port: u16,
    credentials: Option<&Credentials>,
) -> Result<Zeroizing<Vec<u8>>, ProxyError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(ProxyError::Name);
    }
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut request = Zeroizing::new(Vec::with_capacity(REQUEST_MAX));
    for part in ["CONNECT ", &authority, " HTTP/1.1\r\nHost: ", &authority] {
        request.extend_from_slice(part.as_bytes());
    }
    request.extend_from_slice(b"\r\nUser-Agent: Outgate/");
    request.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    if let Some(credentials) = credentials {
        request.extend_from_slice(b"\r\nProxy-Authorization: Basic ");
        push_basic(&mut request, credentials)?;
    }
    request.extend_from_slice(b"\r\n\r\n");
    Ok(request)
}

/// Appends `user:password` in base 64 (RFC 7617 section 2).
fn push_basic(request: &mut Vec<u8>, credentials: &Credentials) -> Result<(), ProxyError> {
    let Credentials { user, password } = credentials;
    let is_control = |text: &str| text.chars().any(char::is_control);
    if user.contains(':') || is_control(user) || is_control(password) {
        return Err(ProxyError::Credentials);
    }
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
    for part in [user.as_str(), ":", password.as_str()] {
        pair.extend_from_slice(part.as_bytes());
    }
    for group in pair.chunks(3) {
        let octet = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 0x3f;
            request.push(if digit <= group.len() {
                BASE64[value as usize]
            } else {
                b'='
            });
        }
    }
    Ok(())
}

/// Room for the longest request, so that growing leaves no copies: two names of 253 bytes, credentials
/// of 257 in base 64, and the words between.
const REQUEST_MAX: usize = 1536;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_the_edge_twice_and_the_connector_once() {
        let request = request("edge.example", 443, None).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            std::str::from_utf8(&request).unwrap(),
            format!(
                "CONNECT edge.example:443 HTTP/1.1\r\nHost: edge.example:443\r\n\
                 User-Agent: Outgate/{version}\r\n\r\n"
            )
        );
        let six = self::request("2001:db8::1", 8443, None).unwrap();
        assert!(
            six.starts_with(b"CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443")
        );
    }

    #[test]
    fn credentials_are_sent_as_the_standard_shows_them() {
        // RFC 7617 section 2 and 2.1, then RFC 4648 section 10 for the three lengths of a group.
        for (user, password, base64) in [
            ("Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("test", "123\u{a3}", "dGVzdDoxMjPCow=="),
            ("foob", "r", "Zm9vYjpy"),
            ("f", "o", "Zjpv"),
            ("f", "ob", "ZjpvYg=="),
            ("f", "oba", "ZjpvYmE="),
            ("", "", "Og=="),
            ("\u{fb}\u{ff}", ":~?", "w7vDvzo6fj8="),
        ] {
            let request = request("edge.example", 443, Some(&credentials(user, password))).unwrap();
            let expected = format!("\r\nProxy-Authorization: Basic {base64}\r\n\r\n");
            assert!(request.ends_with(expected.as_bytes()), "{user}:{password}");
        }
    }

    #[test]
    fn the_longest_request_fits_the_room_it_is_given() {
        let longest = "x".repeat(128);
        let host = "h".repeat(253);
        let request = request(&host, u16::MAX, Some(&credentials(&longest, &longest))).unwrap();
        assert_eq!(request.capacity(), REQUEST_MAX, "it never grew");
    }

    #[test]
    fn nothing_that_would_break_the_request_is_put_into_it() {
        for host in [
            "",
            "edge\r\nX: y",
            "edge example",
            "edge/",
            "\u{e9}dge",
            "edge\0",
        ] {
            assert_eq!(request(host, 443, None), Err(ProxyError::Name), "{host:?}");
        }
        for (user, password) in [("a:b", "c"), ("a\r\n", "c"), ("a", "c\0"), ("a", "\u{85}")] {
            let result = request("edge", 443, Some(&credentials(user, password)));
            assert_eq!(
                result,
                Err(ProxyError::Credentials),
                "{user:?} {password:?}"
            );
        }
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials {
            user: Zeroizing::new(user.into()),
            password: Zeroizing::new(password.into()),
        }
    }
}
