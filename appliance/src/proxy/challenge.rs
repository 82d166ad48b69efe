//! How a proxy wants to be told who asks: `Proxy-Authenticate` (RFC 9110 sections 11.3 and 11.7.1).
//!
//! One field, or several, hold a list of challenges; each is a scheme, and either parameters or one
//! opaque token. Schemes and parameters share the same commas.

use super::{ProxyError, shown};

/// All challenges of one answer.
#[derive(Debug, Default)]
pub struct Challenges {
    /// The realm of the first Basic challenge; empty if it names none.
    basic: Option<String>,
    /// Other schemes, with commas.
    others: String,
}

impl Challenges {
    /// Takes the value of one `Proxy-Authenticate` field.
    pub fn take(&mut self, value: &[u8]) {
        // Whether parameters belong to the challenge that is told of.
        let mut is_basic = false;
        for element in elements(value) {
            let (token, rest) = token(element);
            let rest = rest.trim_ascii_start();
            if token.is_empty() {
                continue;
            }
            if let Some(value) = rest.strip_prefix(b"=") {
                if is_basic {
                    self.parameter(token, value);
                }
                continue;
            }
            is_basic = token.eq_ignore_ascii_case(b"basic") && self.basic.is_none();
            if is_basic {
                self.basic = Some(String::new());
                let (name, rest) = self::token(rest);
                if let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") {
                    self.parameter(name, value);
                }
            } else if !token.eq_ignore_ascii_case(b"basic") {
                self.other(token);
            }
        }
    }

    /// What they come to, when the user and password that were given did not do or none were given.
    #[must_use]
    pub fn into_error(self, were_given: bool) -> ProxyError {
        match self.basic {
            Some(realm) => ProxyError::NeedsCredentials {
                refused: were_given,
                realm,
            },
            None => ProxyError::Unsupported {
                schemes: self.others,
            },
        }
    }

    fn parameter(&mut self, name: &[u8], value: &[u8]) {
        if let Some(realm) = &mut self.basic
            && realm.is_empty()
            && name.eq_ignore_ascii_case(b"realm")
        {
            *realm = shown(&unquoted(value.trim_ascii()), REALM_COLUMNS);
        }
    }

    fn other(&mut self, scheme: &[u8]) {
        let scheme = shown(scheme, SCHEME_COLUMNS);
        let is_new = self.others.split(", ").all(|known| known != scheme);
        let separator = if self.others.is_empty() { "" } else { ", " };
        if is_new && self.others.len() + separator.len() + scheme.len() <= SCHEMES_COLUMNS {
            self.others.push_str(separator);
            self.others.push_str(&scheme);
        }
    }
}

/// The parts between commas, a comma inside quotes excepted, without white space around them.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |byte| {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !was_escaped => escaped = true,
            b'"' if !was_escaped => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    parts.map(<[u8]>::trim_ascii)
}

/// The token that `bytes` begin with (RFC 9110 section 5.6.2), and the rest.
fn token(bytes: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let len = bytes.iter().take_while(|byte| is_token(byte)).count();
    bytes.split_at(len)
}

/// A token as it is, or what a quoted string means.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return value.to_vec();
    };
    let mut meant = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => meant.extend(bytes.next()),
            _ => meant.push(*byte),
        }
    }
    meant
}

/// Columns of the realm that are shown.
pub const REALM_COLUMNS: usize = 40;
/// Columns of all schemes that are shown; the four in use are Basic, Digest, NTLM and Negotiate.
pub const SCHEMES_COLUMNS: usize = 40;
/// Columns of one scheme that are shown.
const SCHEME_COLUMNS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[&str]) -> ProxyError {
        let mut challenges = Challenges::default();
        for field in fields {
            challenges.take(field.as_bytes());
        }
        challenges.into_error(false)
    }

    fn needs(realm: &str) -> ProxyError {
        ProxyError::NeedsCredentials {
            refused: false,
            realm: realm.into(),
        }
    }

    #[test]
    fn basic_is_found_however_it_is_written() {
        for (fields, realm) in [
            (
                &["Basic realm=\"Squid, the proxy\""][..],
                "Squid, the proxy",
            ),
            (&["basic realm=hq"], "hq"),
            (&["BASIC"], ""),
            (
                &["Basic charset=\"UTF-8\", Realm = \"a \\\"b\\\" c\""],
                "a 'b' c",
            ),
            (&["Negotiate", "NTLM", "Basic realm=\"x\""], "x"),
            (&["Negotiate abc==, Basic realm=\"y\", NTLM"], "y"),
            (
                &["Digest realm=\"d\", nonce=\"1,Basic\", Basic realm=\"z\""],
                "z",
            ),
            (&[", ,Basic realm=\"\u{e9}\x07\","], "???"),
            (&["Basic realm=\"first\", Basic realm=\"second\""], "first"),
            (&["Basic realm=\"no end, Basic"], "no end, Basic"),
        ] {
            assert_eq!(of(fields), needs(realm), "{fields:?}");
        }
    }

    #[test]
    fn a_proxy_without_basic_has_its_schemes_named() {
        for (fields, schemes) in [
            (&["Negotiate", "NTLM"][..], "Negotiate, NTLM"),
            (&["Digest realm=\"Basic realm=x\", qop=\"auth\""], "Digest"),
            (&["NTLM TlRMTVNTUAACAAAA==", "ntlm"], "NTLM, ntlm"),
            (&[], ""),
            (&["=\"", "\"Basic"], ""),
        ] {
            let schemes = schemes.into();
            assert_eq!(
                of(fields),
                ProxyError::Unsupported { schemes },
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_thousand_schemes_are_not_all_named() {
        let many: Vec<_> = (0..1000).map(|number| format!("Scheme{number}")).collect();
        let ProxyError::Unsupported { schemes } = of(&[&many.join(",")]) else {
            panic!("not Basic")
        };
        assert!(schemes.len() <= SCHEMES_COLUMNS);
        assert!(schemes.starts_with("Scheme0, Scheme1"));
    }
}
