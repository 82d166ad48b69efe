//! libvirt without its daemon: `virsh` with the QEMU driver inside it (`qemu:///embed`), in namespaces of
//! its own, where it finds no other domain and from which nothing is left.
//!
//! In a user namespace, as a user without privileges: root and anyone else take the same way, and no
//! account, bus or cgroup is needed. In a process namespace, because domains outlive a `virsh`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use qemu::child::Child;
use qemu::console::Console;
use qemu::host::find_program;
use qemu::temp::TempDir;

/// How long libvirt may take for a command: the first asks QEMU for all it can do.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// The namespaces. The user's number is the one that means nobody.
const NAMESPACES: [&str; 8] = [
    "--user",
    "--map-user=65534",
    "--map-group=65534",
    "--mount",
    "--pid",
    "--mount-proc",
    "--fork",
    "--kill-child",
];

/// The shell is there to wait for processes that were left to it: libvirt takes one that nobody waits
/// for to be running still. Because a command follows, it does not become `virsh` itself.
const SCRIPT: &str = r#"virsh --connect "$0" 2>&1; exit"#;

/// A `virsh` that takes commands, and the domains that it started. All end when this is dropped.
#[derive(Debug)]
pub struct Libvirt {
    commands: UnixStream,
    answers: BufReader<UnixStream>,
    asked: u32,
    // Dropped in this order: the processes end before their folder does.
    _process: Child,
    _folder: TempDir,
}

/// Why libvirt does not do what it should.
#[derive(Debug)]
pub enum LibvirtError {
    /// It refused a command.
    Command {
        /// The command.
        command: String,
        /// What it said.
        answer: String,
    },
    /// A file, socket or process failed, or it did not answer in time.
    Io(io::Error),
}

impl Libvirt {
    /// What is missing for it, as one sentence for `skip!`.
    pub fn missing() -> Option<String> {
        for (program, package) in [("unshare", "util-linux"), ("virsh", "libvirt-clients")] {
            if find_program(program).is_none() {
                return Some(format!(
                    "{program} is in no folder of PATH: install the Debian package {package}"
                ));
            }
        }
        let works = Command::new("unshare")
            .args(NAMESPACES)
            .arg("true")
            .output();
        match works {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!(
                "no namespaces for libvirt: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Some(format!("unshare: {error}")),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`LibvirtError`]; a refusal is most likely the missing Debian package
    /// `libvirt-daemon-driver-qemu`.
    pub fn start() -> Result<Self, LibvirtError> {
        let folder = TempDir::new("outgate-libvirt")?;
        fs::create_dir(folder.path().join("etc"))?;
        // The other handler is a daemon, virtlogd.
        fs::write(
            folder.path().join("etc/qemu.conf"),
            "stdio_handler = \"file\"\n",
        )?;
        let (commands, far) = UnixStream::pair()?;
        let unshare = find_program("unshare").ok_or(io::ErrorKind::NotFound)?;
        let uri = format!("qemu:///embed?root={}", folder.path().display());
        let process = Child::start(&unshare, |command| {
            command
                .args(NAMESPACES)
                .args(["sh", "-c", SCRIPT, &uri])
                .env("HOME", folder.path())
                .env_remove("XDG_RUNTIME_DIR")
                .stderr(Stdio::null());
            if let Ok(input) = far.try_clone() {
                command.stdin(OwnedFd::from(input));
            }
            command.stdout(OwnedFd::from(far));
        })?;
        commands.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        let answers = BufReader::new(commands.try_clone()?);
        let mut libvirt = Self {
            commands,
            answers,
            asked: 0,
            _process: process,
            _folder: folder,
        };
        libvirt.run("version")?;
        Ok(libvirt)
    }

    /// Runs a command of virsh(1) and returns what it said.
    ///
    /// # Errors
    /// [`LibvirtError`].
    pub fn run(&mut self, command: &str) -> Result<String, LibvirtError> {
        self.asked += 1;
        let end = format!("end-of-answer-{}", self.asked);
        writeln!(self.commands, "{command}\necho {end}")?;
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                answer.push_str("virsh has ended");
                break;
            }
            match line.trim() {
                ended if ended == end => break,
                // `virsh` repeats what it reads.
                repeated if repeated.ends_with(command) || repeated.ends_with(&end) => {}
                _ => answer.push_str(&line),
            }
        }
        let is_refusal = |line: &str| line.starts_with("error:") || line == "virsh has ended";
        if answer.lines().any(is_refusal) {
            return Err(LibvirtError::Command {
                command: command.to_owned(),
                answer,
            });
        }
        Ok(answer.trim().to_owned())
    }

    /// Defines and starts the domain `name`, and returns its console, which has heard everything.
    ///
    /// # Errors
    /// [`LibvirtError`].
    pub fn start_domain(&mut self, name: &str, xml: &Path) -> Result<Console, LibvirtError> {
        self.run(&format!("define --validate {}", xml.display()))?;
        self.run(&format!("start {name} --paused"))?;
        let terminal = PathBuf::from(self.run(&format!("ttyconsole {name}"))?);
        let console = terminal_console(&terminal)?;
        self.run(&format!("resume {name}"))?;
        Ok(console)
    }

    /// Writes a picture of the domain's screen, PPM.
    ///
    /// # Errors
    /// [`LibvirtError`].
    pub fn screendump(&mut self, name: &str, file: &Path) -> Result<(), LibvirtError> {
        // By hand, because `screenshot` writes PNG.
        let request = format!(
            r#"{{"execute":"screendump","arguments":{{"filename":"{}"}}}}"#,
            file.display()
        );
        let answer = self.run(&format!("qemu-monitor-command {name} '{request}'"))?;
        if answer.contains("\"error\"") {
            let command = "screendump".to_owned();
            return Err(LibvirtError::Command { command, answer });
        }
        Ok(())
    }
}

/// A console that reads a terminal.
fn terminal_console(terminal: &Path) -> io::Result<Console> {
    let mut terminal = File::open(terminal)?;
    let (near, mut far) = UnixStream::pair()?;
    thread::spawn(move || {
        // Ends, with an error, when either side does.
        let _ = io::copy(&mut terminal, &mut far);
    });
    Console::new(near)
}

/// Where a domain's network card can be plugged in as an `<interface type='client'>`: what is said
/// there is passed on to the lab's network, whose frames are the same on another kind of socket.
///
/// # Errors
/// Those of listening.
pub fn plug(network: PathBuf) -> io::Result<SocketAddrV4> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || pass_on(&listener, &network));
    Ok(SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port))
}

fn pass_on(listener: &TcpListener, network: &Path) -> io::Result<()> {
    let (card, _) = listener.accept()?;
    card.set_nodelay(true)?;
    let cable = UnixStream::connect(network)?;
    let (mut card_reader, mut cable_writer): (TcpStream, UnixStream) =
        (card.try_clone()?, cable.try_clone()?);
    thread::spawn(move || {
        let copied = io::copy(&mut card_reader, &mut cable_writer);
        // The other direction ends with this one.
        let _ = cable_writer.shutdown(std::net::Shutdown::Both);
        copied
    });
    io::copy(&mut &cable, &mut &card).map(drop)
}

impl From<io::Error> for LibvirtError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<io::ErrorKind> for LibvirtError {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Io(kind.into())
    }
}

impl fmt::Display for LibvirtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { command, answer } => write!(f, "virsh refused {command}: {answer}"),
            Self::Io(error) => write!(f, "virsh, its files or its sockets: {error}"),
        }
    }
}

impl std::error::Error for LibvirtError {}
