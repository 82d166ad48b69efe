//! The command line of `vm`.

use std::path::PathBuf;

use qemu::mac::Mac;

/// What `--help` prints.
pub const USAGE: &str = "\
Boots an image with its serial console on the terminal.

  --image FILE        the qcow2 to boot               [target/image/outgate.qcow2]
  --disk FILE         the machine's disk, a copy of the image made at its first start, so that
                      an enrolment survives            [target/vm/outgate.qcow2]
                      Beside it is a file .machine with the UUID and the VM generation id, the same at
                      each start: a disk copied without it is another machine's. To tell the machine
                      that its disk was reverted, change the generation.
  --fresh             makes that copy anew: the machine forgets everything
  --memory MIB        memory                           [128]
  --firmware KIND     bios or uefi                     [bios]
  --mac ADDRESS       the network card's address       [00:50:56:00:00:01]
  --net user          QEMU's own network: DHCP, DNS, NAT to this computer's network  [this]
  --net socket PATH   a lab network that listens on this unix socket
  --edge HOST[:PORT]  tells the machine its service edge (fw_cfg opt/outgate/edge)
  --set KEY=VALUE     tells the machine a setting, outgate.address=192.0.2.10/24 for instance, as
                      fw_cfg opt/outgate/address; may be given several times
  --cd FILE           a disc image in a CD drive, with an OVF environment for instance
";

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The image the disk is copied from.
    pub image: PathBuf,
    /// The disk.
    pub disk: PathBuf,
    /// Whether the disk is copied anew.
    pub fresh: bool,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// UEFI rather than BIOS.
    pub uefi: bool,
    /// The network card's address.
    pub mac: Mac,
    /// The lab network's socket; QEMU's own network when none.
    pub net_socket: Option<PathBuf>,
    /// The service edge to tell the machine of.
    pub edge: Option<String>,
    /// Settings to tell it: key, without what all begin with, and value.
    pub settings: Vec<(String, String)>,
    /// The disc in its drive.
    pub cd: Option<PathBuf>,
}

impl Options {
    /// Parses the arguments after the program's name. `None` when help is asked for.
    ///
    /// # Errors
    /// A sentence that names the argument and what is wrong with it.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            image: "target/image/outgate.qcow2".into(),
            disk: "target/vm/outgate.qcow2".into(),
            fresh: false,
            memory_mib: 128,
            uefi: false,
            mac: Mac::in_static_range(1),
            net_socket: None,
            edge: None,
            settings: Vec::new(),
            cd: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--image" => options.image = value()?.into(),
                "--disk" => options.disk = value()?.into(),
                "--fresh" => options.fresh = true,
                "--memory" => options.memory_mib = memory_mib(&value()?)?,
                "--firmware" => options.uefi = is_uefi(&value()?)?,
                "--mac" => {
                    options.mac = value()?
                        .parse()
                        .map_err(|error| format!("--mac: {error}"))?;
                }
                "--net" => match value()?.as_str() {
                    "user" => options.net_socket = None,
                    "socket" => options.net_socket = Some(value()?.into()),
                    other => return Err(format!("--net {other}: it is user or socket PATH")),
                },
                "--edge" => options.edge = Some(value()?),
                "--set" => options.settings.push(setting(&value()?)?),
                "--cd" => options.cd = Some(value()?.into()),
                _ => return Err(format!("{name} is unknown; --help lists what there is")),
            }
        }
        Ok(Some(options))
    }
}

/// `outgate.KEY=VALUE`; what the values may be is the machine's to say.
fn setting(text: &str) -> Result<(String, String), String> {
    let is_key = |key: &str| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !key.is_empty() && key.bytes().all(letter)
    };
    text.strip_prefix("outgate.")
        .and_then(|setting| setting.split_once('='))
        .filter(|(key, value)| is_key(key) && !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("--set {text}: type it like outgate.address=192.0.2.10/24"))
}

fn memory_mib(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|mib| (32..=65536).contains(mib))
        .ok_or_else(|| format!("--memory {text}: a number of MiB from 32 to 65536"))
}

fn is_uefi(text: &str) -> Result<bool, String> {
    match text {
        "bios" => Ok(false),
        "uefi" => Ok(true),
        _ => Err(format!("--firmware {text}: it is bios or uefi")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_the_last_built_image_boots_on_its_own_network() {
        let options = parse("").unwrap().unwrap();
        assert_eq!(options.image, PathBuf::from("target/image/outgate.qcow2"));
        assert_eq!(
            (options.memory_mib, options.uefi, options.net_socket),
            (128, false, None)
        );
    }

    #[test]
    fn every_option_is_taken() {
        let options = parse(
            "--image a --disk b --fresh --memory 256 --firmware uefi --mac 00:50:56:00:00:09 \
             --net socket c --edge edge.outgate.example:443 --set outgate.vlan=7 \
             --set outgate.proxy=p:1=2 --cd d",
        )
        .unwrap()
        .unwrap();
        let expected = Options {
            image: "a".into(),
            disk: "b".into(),
            fresh: true,
            memory_mib: 256,
            uefi: true,
            mac: Mac::in_static_range(9),
            net_socket: Some("c".into()),
            edge: Some("edge.outgate.example:443".to_owned()),
            settings: vec![
                ("vlan".to_owned(), "7".to_owned()),
                ("proxy".to_owned(), "p:1=2".to_owned()),
            ],
            cd: Some("d".into()),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn a_wrong_argument_is_named() {
        for (line, word) in [
            ("--memory lots", "lots"),
            ("--memory", "needs a value"),
            ("--firmware coreboot", "coreboot"),
            ("--mac 1", "--mac"),
            ("--net tap", "tap"),
            ("--set address=1", "outgate.address"),
            ("--set outgate.vlan=", "outgate.address"),
            ("--set outgate.a/b=1", "outgate.address"),
            ("--frsh", "--frsh"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
        assert_eq!(parse("--memory 64 --help"), Ok(None));
    }

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }
}
