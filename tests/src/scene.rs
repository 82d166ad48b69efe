//! What most stories begin with: an edge with a group, an application and a user.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use crate::appliance::{Appliance, BootOptions};
use crate::edge_process::EdgeProcess;
use crate::lab::{Lab, LabError};
use crate::network::address::{APPLICATION, APPLICATION_NAME};
use crate::session::Session;

/// The connector group.
pub const GROUP: &str = "Mumbai";
/// The user.
pub const USER: &str = "asha";
/// The address of the private page.
pub const PAGE: &str = "http://intranet.outgate.example/";

/// What the console's history says once the control channel is up; the live line has other words.
pub const CONNECTED: &str = "Connected to edge.outgate.example as";

/// How long a boot to the prompt may take on a busy machine without KVM.
pub const BOOT_MAX: Duration = Duration::from_secs(180);
/// How long anything else may take there.
pub const STEP_MAX: Duration = Duration::from_secs(90);

/// A lab whose edge knows a group, the private application and a user.
#[derive(Debug)]
pub struct Scene {
    /// The lab.
    pub lab: Lab,
    password: String,
}

/// The scene of a test with this name; the test is skipped where no VM can be booted.
#[macro_export]
macro_rules! scene {
    ($name:expr) => {{
        if let Some(reason) = $crate::lab::Lab::missing_for_vm() {
            $crate::skip!(reason);
        }
        $crate::scene::expect($crate::scene::Scene::new($name))
    }};
}

/// What a user got through the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// HTTP status of the page; of the proxy's answer where there is none; 0 without any.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// curl's own complaint.
    pub complaint: String,
}

impl Fetched {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Scene {
    /// Sets the scene in a fresh lab.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn new(name: &str) -> Result<Self, LabError> {
        Self::in_lab(Lab::new(name)?)
    }

    /// Sets the scene in this lab, with the edge that it has, or a new one.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn in_lab(mut lab: Lab) -> Result<Self, LabError> {
        if lab.edge().is_none() {
            lab.start_edge()?;
        }
        let Some(edge) = lab.edge() else {
            return Err(LabError::Io(std::io::ErrorKind::NotFound.into()));
        };
        let admin = |words: &[&str]| edge.admin(words).map_err(LabError::Edge);
        admin(&["group", "add", GROUP])?;
        let port = APPLICATION.port().to_string();
        admin(&[
            "app",
            "add",
            "--group",
            GROUP,
            "--name",
            "intranet",
            "--host",
            APPLICATION_NAME,
            "--port",
            &port,
        ])?;
        let user = admin(&["user", "add", USER])?;
        let password = user["password"].as_str().unwrap_or_default().to_owned();
        Ok(Self { lab, password })
    }

    /// The edge.
    ///
    /// # Panics
    /// Never: the scene started it.
    pub fn edge(&mut self) -> &mut EdgeProcess {
        match self.lab.edge() {
            Some(edge) => edge,
            None => panic!("the scene started an edge"),
        }
    }

    /// The user's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Runs an administrator's command.
    ///
    /// # Panics
    /// If it fails: the story cannot go on.
    pub fn admin(&mut self, words: &[&str]) -> serde_json::Value {
        match self.edge().admin(words) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Mints a provisioning key for the group, with more options if given.
    pub fn mint_key(&mut self, options: &[&str]) -> String {
        let mut words = vec!["key", "mint", "--group", GROUP];
        words.extend(options);
        self.admin(&words)["key"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Uses spent of all keys together, and connectors enrolled.
    pub fn uses_and_connectors(&mut self) -> (u64, usize) {
        let keys = self.admin(&["key", "list"]);
        let uses = keys.as_array().into_iter().flatten();
        let uses = uses.filter_map(|key| key["uses"].as_u64()).sum();
        let connectors = self.admin(&["connector", "list"]);
        (uses, connectors.as_array().map_or(0, Vec::len))
    }

    /// Boots an appliance as people do and waits for its first prompt.
    ///
    /// # Panics
    /// If it does not come.
    pub fn boot_to_prompt(&self) -> Appliance {
        self.boot_to_prompt_with(&BootOptions::default())
    }

    /// The same with another machine.
    ///
    /// # Panics
    /// If the prompt does not come.
    pub fn boot_to_prompt_with(&self, options: &BootOptions) -> Appliance {
        let appliance = expect(self.lab.boot(options));
        expect(appliance.wait_for("Provisioning key:", BOOT_MAX));
        appliance
    }

    /// Boots an appliance and enrols it with a fresh key.
    ///
    /// # Panics
    /// If it does not get as far as being connected.
    pub fn boot_and_enrol(&mut self) -> Appliance {
        self.boot_and_enrol_with(&BootOptions::default())
    }

    /// The same with another machine.
    ///
    /// # Panics
    /// If it does not get as far as being connected.
    pub fn boot_and_enrol_with(&mut self, options: &BootOptions) -> Appliance {
        let appliance = self.boot_to_prompt_with(options);
        let key = self.mint_key(&[]);
        expect(appliance.type_line(&key));
        expect(appliance.wait_for(CONNECTED, STEP_MAX));
        appliance
    }

    /// Opens a session that stays open; see [`Session`].
    ///
    /// # Panics
    /// If the edge or the connector refuses it.
    pub fn open_session(&mut self) -> Session {
        let credentials = format!("{USER}:{}", self.password);
        expect(Session::open(self.edge().proxy(), &credentials))
    }

    /// Fetches a page as the user, through the edge's proxy, with curl.
    pub fn fetch(&mut self, url: &str) -> Fetched {
        let credentials = format!("{USER}:{}", self.password);
        self.fetch_as(url, &credentials, &[])
    }

    /// The same with these credentials and further options of curl.
    pub fn fetch_as(&mut self, url: &str, credentials: &str, options: &[&str]) -> Fetched {
        let proxy = format!("http://{}", self.edge().proxy());
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60"])
            .args(["--write-out", "\n%{http_code} %{http_connect}"])
            .args(["--proxy", &proxy, "--proxy-user", credentials])
            .args(options)
            .arg(url)
            .output();
        let output = expect(output);
        let end = output
            .stdout
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap_or(0);
        let (body, codes) = output.stdout.split_at(end);
        let codes = String::from_utf8_lossy(codes);
        let mut codes = codes
            .split_whitespace()
            .filter_map(|code| code.parse().ok());
        let (page, connect) = (codes.next().unwrap_or(0), codes.next().unwrap_or(0));
        Fetched {
            status: if page == 0 { connect } else { page },
            body: body.to_vec(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The value, or the end of the story with the error's own words.
///
/// # Panics
/// On an error.
pub fn expect<T, E: fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
