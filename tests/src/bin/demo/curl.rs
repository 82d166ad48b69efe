//! The user: curl, told of the service edge's proxy. What is printed is what is run.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use ::tests::network::http::PAGE_MARKER;
use ::tests::scene::{PAGE, USER};

/// How long a page may take.
const FETCH_TIME_MAX_S: u32 = 60;

/// A user's way to the private page.
#[derive(Debug)]
pub struct Curl {
    proxy: SocketAddr,
    password: String,
}

impl Curl {
    /// By the edge's proxy, with the password of [`USER`].
    pub fn new(proxy: SocketAddr, password: &str) -> Self {
        Self {
            proxy,
            password: password.to_owned(),
        }
    }

    /// The command as a person types it.
    pub fn command_line(&self) -> String {
        format!("curl {}", self.words().join(" "))
    }

    /// Fetches the page.
    ///
    /// # Errors
    /// One sentence: curl's own, or that it was another page.
    pub fn fetch(&self) -> Result<String, String> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail"])
            .args(["--max-time", &FETCH_TIME_MAX_S.to_string()])
            .args(self.words())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("curl cannot be started: {error}; apt install curl"))?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(complaint.trim().to_owned());
        }
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        if page.contains(PAGE_MARKER) {
            Ok(page)
        } else {
            Err(format!(
                "another page came, without the words {PAGE_MARKER:?}:\n{page}"
            ))
        }
    }

    /// Nothing here is special to a shell: the edge makes passwords of letters and digits.
    fn words(&self) -> [String; 5] {
        [
            "--proxy".to_owned(),
            format!("http://{}", self.proxy),
            "--proxy-user".to_owned(),
            format!("{USER}:{}", self.password),
            PAGE.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_proxy_user_password_and_page() {
        let curl = Curl::new("127.0.0.1:3128".parse().unwrap(), "abc");
        assert_eq!(
            curl.command_line(),
            "curl --proxy http://127.0.0.1:3128 --proxy-user asha:abc \
             http://intranet.outgate.example/"
        );
    }

    #[test]
    fn a_proxy_that_is_not_there_is_curls_to_name() {
        let Err(why) = Curl::new("127.0.0.1:1".parse().unwrap(), "abc").fetch() else {
            panic!("a page came from nowhere");
        };
        assert!(why.contains("curl"), "{why}");
    }
}
