//! The head of a user's request. Pure: bytes in, meaning out.

use argon2::password_hash::Encoding;
use httparse::Header;
use zeroize::Zeroizing;

use super::response::{Refusal, Status};
use crate::config::HEADERS_MAX;
use crate::passwords::CREDENTIAL_MAX;

/// What a user asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// As the user wrote it; compared in the form of [`crate::text::normal_host`].
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) form: Form,
    authorization: Option<Zeroizing<String>>,
}

/// How the session starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Raw bytes after the answer.
    Connect,
    /// One request in origin form, then its body.
    Forward {
        /// The head to send to the application.
        head: Vec<u8>,
        /// Bytes of the body that follow it.
        body_len: u64,
    },
}

impl Request {
    /// Name and password, if the request carries them (RFC 7617).
    pub(super) fn credentials(&self) -> Option<(String, Zeroizing<String>)> {
        let (scheme, encoded) = self.authorization.as_ref()?.split_once(' ')?;
        let encoded = encoded.trim().trim_end_matches('=');
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let mut buffer = Zeroizing::new([0; 2 * CREDENTIAL_MAX + 1]);
        let decoded = Encoding::B64.decode(encoded, &mut *buffer).ok()?;
        let (name, password) = std::str::from_utf8(decoded).ok()?.split_once(':')?;
        Some((name.to_owned(), Zeroizing::new(password.to_owned())))
    }
}

/// The request and the length of its head; `None` while the head is not complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_len = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => {
            return Err(Refusal::bad_request(&format!(
                "not an HTTP request: {error}"
            )));
        }
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Ok(None);
    };
    let authorization =
        field(parsed.headers, "proxy-authorization")?.map(|value| Zeroizing::new(value.to_owned()));
    let (host, port, form) = if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        (host, port, Form::Connect)
    } else {
        let (authority_part, origin) = absolute(target)?;
        let (host, port) = authority(authority_part, Some(80))?;
        let form = forward(method, origin, authority_part, parsed.headers)?;
        (host, port, form)
    };
    Ok(Some((
        Request {
            host,
            port,
            form,
            authorization,
        },
        head_len,
    )))
}

/// The one value of a field; several are an error, because readers disagree which one counts.
fn field<'a>(headers: &[Header<'a>], name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::bad_request(&format!(
            "the field {name} appears twice"
        )));
    }
    match std::str::from_utf8(first.value) {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(Refusal::bad_request(&format!(
            "the field {name} is not text"
        ))),
    }
}

/// Authority and origin form of an absolute `http` URL.
fn absolute(target: &str) -> Result<(&str, &str), Refusal> {
    let scheme = target
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let Some(scheme) = scheme else {
        let detail = "this is a proxy: use CONNECT (with curl: --proxytunnel) or an http:// URL";
        return Err(Refusal::new(Status::MethodNotAllowed, detail.into()));
    };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Ok(rest.split_at(end))
}

/// Host and port of `host:port`, `[v6]:port`, or `host` where a port may be left out.
fn authority(text: &str, default_port: Option<u16>) -> Result<(String, u16), Refusal> {
    let problem = || Refusal::bad_request("the target is not HOST:PORT");
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let colon = text[after_bracket..]
        .rfind(':')
        .map(|at| after_bracket + at);
    let (host, port) = match colon {
        Some(at) => (&text[..at], text[at + 1..].parse().map_err(|_| problem())?),
        None => (text, default_port.ok_or_else(problem)?),
    };
    // A URL with credentials in it, or an address without brackets, is not guessed at.
    if host.is_empty() || port == 0 || host[after_bracket..].contains([':', '@']) {
        return Err(problem());
    }
    Ok((host.to_owned(), port))
}

/// The head as the application gets it: origin form, this connection's own fields left out, and
/// the end of the connection as the end of the answer.
fn forward(
    method: &str,
    origin: &str,
    authority: &str,
    headers: &[Header<'_>],
) -> Result<Form, Refusal> {
    if field(headers, "transfer-encoding")?.is_some() {
        let detail =
            "a body of unknown length cannot be passed on; use CONNECT (with curl: --proxytunnel)";
        return Err(Refusal::new(Status::LengthRequired, detail.into()));
    }
    let body_len = match field(headers, "content-length")? {
        None => 0,
        Some(value) if value.bytes().all(|byte| byte.is_ascii_digit()) => value
            .parse()
            .map_err(|_| Refusal::bad_request("the field content-length is not a number"))?,
        Some(_) => {
            return Err(Refusal::bad_request(
                "the field content-length is not a number",
            ));
        }
    };
    let path = origin.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{path} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    for header in headers.iter().filter(|header| !is_hop_by_hop(header.name)) {
        head.extend_from_slice(header.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok(Form::Forward { head, body_len })
}

/// Fields that are for this proxy (RFC 9110 section 7.6.1), and Host, which is made from the URL.
fn is_hop_by_hop(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_names_host_and_port() {
        for (target, host, port) in [
            ("intranet.corp.example:443", "intranet.corp.example", 443),
            ("10.0.0.9:80", "10.0.0.9", 80),
            ("[2001:db8::1]:8080", "[2001:db8::1]", 8080),
        ] {
            let (request, _) = parsed(&format!("CONNECT {target} HTTP/1.1\r\n\r\n"));
            assert_eq!(
                (request.host.as_str(), request.port, &request.form),
                (host, port, &Form::Connect)
            );
        }
    }

    #[test]
    fn an_impossible_target_is_refused() {
        for target in [
            "intranet",
            ":80",
            "a:0",
            "a:65536",
            "a:-1",
            "a:",
            "2001:db8::1:80",
            "u@a:80",
            "[::1]",
        ] {
            let refusal = refused(&format!("CONNECT {target} HTTP/1.1\r\n\r\n"));
            assert!(
                refusal.to_string().starts_with("400"),
                "{target}: {refusal}"
            );
        }
    }

    #[test]
    fn what_follows_the_head_is_left() {
        let bytes = b"CONNECT a:1 HTTP/1.1\r\n\r\nrest";
        let (_, len) = parse(bytes).unwrap().unwrap();
        assert_eq!(&bytes[len..], b"rest");
        assert!(parse(&bytes[..len - 1]).unwrap().is_none());
    }

    #[test]
    fn an_absolute_url_becomes_origin_form_without_the_proxys_fields() {
        let (request, _) = parsed(
            "POST http://Intranet/a?b#c HTTP/1.1\r\nHost: other\r\nProxy-Authorization: Basic eDp5\r\n\
             Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\nContent-Length: 12\r\nAccept: */*\r\n\r\n",
        );
        assert_eq!((request.host.as_str(), request.port), ("Intranet", 80));
        let Form::Forward { head, body_len } = request.form else {
            panic!("{:?}", request.form)
        };
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "POST /a?b HTTP/1.1\r\nHost: Intranet\r\nContent-Length: 12\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(body_len, 12);
    }

    #[test]
    fn a_url_without_a_path_asks_for_the_root() {
        for (url, line) in [("http://a", "GET / "), ("http://a?x", "GET /?x ")] {
            let (request, _) = parsed(&format!("GET {url} HTTP/1.1\r\n\r\n"));
            let Form::Forward { head, .. } = request.form else {
                panic!("{:?}", request.form)
            };
            assert!(String::from_utf8(head).unwrap().starts_with(line));
        }
    }

    #[test]
    fn a_request_that_readers_could_disagree_on_is_refused() {
        for fields in [
            "Transfer-Encoding: chunked",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: +1",
            "Content-Length: 99999999999999999999",
            "Proxy-Authorization: Basic eDp5\r\nProxy-Authorization: Basic eDp5",
        ] {
            let refusal = refused(&format!("POST http://a/ HTTP/1.1\r\n{fields}\r\n\r\n"));
            assert!(refusal.to_string().starts_with("4"), "{fields}: {refusal}");
        }
    }

    #[test]
    fn an_origin_server_request_is_told_how_to_use_a_proxy() {
        for target in ["/", "https://a/", "ftp://a/", "*"] {
            let refusal = refused(&format!("GET {target} HTTP/1.1\r\n\r\n")).to_string();
            assert!(
                refusal.starts_with("405") && refusal.contains("--proxytunnel"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn credentials_are_basic_and_the_password_may_have_colons() {
        let with = |value: &str| {
            let head = format!("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: {value}\r\n\r\n");
            parsed(&head)
                .0
                .credentials()
                .map(|(name, password)| (name, password.to_string()))
        };
        let mona = Some(("mona".to_owned(), "a:b".to_owned()));
        assert_eq!(with("Basic bW9uYTphOmI="), mona);
        assert_eq!(with("basic bW9uYTphOmI"), mona);
        for wrong in [
            "Bearer bW9uYTphOmI=",
            "Basic",
            "Basic ***",
            "Basic bW9uYQ==",
            &"A".repeat(2000),
        ] {
            assert_eq!(with(wrong), None, "{wrong}");
        }
    }

    fn parsed(text: &str) -> (Request, usize) {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    fn refused(text: &str) -> Refusal {
        parse(text.as_bytes()).unwrap_err()
    }
}
