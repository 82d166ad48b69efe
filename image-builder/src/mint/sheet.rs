//! Pure: the page for the person who deploys.

use std::fmt::Write as _;

use crate::mint::commands::{self, Command, LIBVIRT_IMAGES, PROXMOX_UPLOAD};
use crate::mint::connector::Connector;

/// What the page tells about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Its name.
    pub name: String,
    /// Its SHA-256 as hexadecimal digits.
    pub sha256: String,
}

/// The page for `connector` of system `version` in `files`.
#[must_use]
pub fn text(connector: &Connector, version: &str, files: &[FileFacts]) -> String {
    let Connector {
        name,
        mac,
        group,
        edge,
        network,
    } = connector;
    let group = group.as_ref().map_or("-", |group| group.as_str());
    let edge = edge.as_ref().map_or_else(
        || "the console asks, unless the image has one".into(),
        ToString::to_string,
    );
    let network = if network.is_empty() {
        NO_SETTINGS.to_owned()
    } else {
        let each = network.iter();
        let each =
            each.map(|(property, value)| format!("  {:10}{value}\n", property.key_in_class()));
        each.collect()
    };
    let mut page = format!(
        "Outgate connector {name}

  name   {name}
  group  {group} (for people: the provisioning key decides)
  MAC    {mac}
  edge   {edge}
  system {version}

NETWORK, as minted; what the hypervisor's properties say wins
{network}
Deploy it once. A second machine from these files would have the same MAC and the same name; mint
another connector instead. Words in CAPITALS are yours to fill in, in quotes when they have spaces.

CHECK, in the folder with the files:
    {CHECK} {name}.txt | sha256sum --check

"
    );
    for file in files {
        let _ = writeln!(page, "{}  {}", file.sha256, file.name);
    }
    for (title, before, list) in sections(connector) {
        let _ = write!(page, "\n{title}\n");
        if !before.is_empty() {
            let _ = writeln!(page, "  {before}");
        }
        for command in list {
            let shown = commands::shell_text(&command, COLUMNS - INDENT.len());
            for line in shown.lines() {
                let _ = writeln!(page, "{INDENT}{line}");
            }
        }
    }
    page.push_str(&after(connector));
    page
}

/// Heading, sentences and commands, in the order of the page.
fn sections(connector: &Connector) -> Vec<(&'static str, String, Vec<Command>)> {
    let name = &connector.name;
    vec![
        (
            "VSPHERE AND ESXI",
            format!(
                "vSphere Client: right-click a host or cluster, Deploy OVF Template, Local file, \
                 {name}.ova;\n  choose a network. ESXi Host \
                 Client: Create / Register VM,\n  Deploy a virtual machine from an OVF or OVA \
                 file. Before you power on, Edit Settings must\n  show MAC {} (Manual). By \
                 ovftool, to a vCenter or to a host:",
                connector.mac
            ),
            vec![
                commands::ovftool_vcenter(connector),
                commands::ovftool_esxi(connector),
            ],
        ),
        (
            "LIBVIRT, with the minted domain (another network: edit <interface> first)",
            format!("Copy {name}.qcow2 to {LIBVIRT_IMAGES}/ first."),
            commands::virsh(connector).into(),
        ),
        (
            "LIBVIRT, by virt-install (a bridge: bridge=br0 for network=default)",
            format!("Copy {name}.qcow2 to {LIBVIRT_IMAGES}/ first. For UEFI add the last line."),
            vec![
                commands::virt_install(connector),
                commands::virt_install_uefi(),
            ],
        ),
        (
            "QEMU, the console on this terminal (a bridge: -netdev bridge,id=net0,br=br0)",
            String::new(),
            vec![commands::qemu(connector)],
        ),
        (
            "PROXMOX VE 7.2 or later",
            format!("Copy {name}.qcow2 to {PROXMOX_UPLOAD}/ of the node first."),
            commands::proxmox(connector).into(),
        ),
        (
            "PROXMOX VE before 7.2: these in place of the second command",
            String::new(),
            commands::proxmox_before_7_2(connector).into(),
        ),
        (
            "PROXMOX VE with UEFI: this before the start",
            String::new(),
            vec![commands::proxmox_uefi()],
        ),
        (
            "VIRTUALBOX (do not import the OVA there: VirtualBox replaces MAC and controllers)",
            String::new(),
            commands::virtualbox(connector),
        ),
    ]
}

/// What happens after power-on.
fn after(connector: &Connector) -> String {
    let Connector { name, mac, .. } = connector;
    format!(
        "
WHAT THE CONSOLE SHOWS, on the VGA screen and on the serial port alike, 115200 baud
  \"Image for {name}\", \"NIC eth0 MAC {mac}, as minted\", then address and time, and
  \"An administrator makes a key (edge key mint): type it here\". Type the provisioning key there,
  on either of the two; case, spaces and dashes do not matter. \"Connected to\" ends it.

WHEN THE CONSOLE SAYS THAT THE MAC IS NOT THE MINTED ONE
  The hypervisor gave the machine another MAC. Shut the machine down, set the MAC of its network
  card to {mac}, and start it again:
    vSphere, ESXi   Edit Settings, Network adapter 1, MAC Address: Manual
    libvirt         virsh edit {name}, <mac address='{mac}'/>
    Proxmox         qm set VMID --net0 virtio={mac},bridge=BRIDGE
    VirtualBox      VBoxManage modifyvm {name} --macaddress1 {bare_mac}
  When another machine has that MAC, one of the two is a copy: keep one, and mint a new connector
  for the other.
",
        bare_mac = mac.to_string().replace(':', "").to_ascii_uppercase(),
    )
}

const NO_SETTINGS: &str = "  DHCP, and IPv6 as routers advertise it\n";
const COLUMNS: usize = 100;
/// Takes the digests out of the page.
const CHECK: &str = "grep -E '^[0-9a-f]{64} '";
const INDENT: &str = "    ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mint::settings::NetworkSettings;
    use ovf::property::Property;

    #[test]
    fn the_page_is_one_that_a_terminal_shows_and_begins_with_who_it_is_for() {
        let page = page();
        assert!(page.starts_with("Outgate connector mumbai-01\n"), "{page}");
        for line in page.lines() {
            assert!(line.len() <= COLUMNS && line.is_ascii(), "{line}");
        }
        for fact in [
            "  address   192.0.2.10/24\n",
            "group  Mumbai",
            "MAC    00:50:56:0a:0b:0c",
            "edge.example.org:443",
        ] {
            assert!(page.contains(fact), "{fact}");
        }
    }

    #[test]
    fn the_digests_are_lines_that_sha256sum_checks() {
        let line = format!("\n{}  mumbai-01.ova\n", "ab".repeat(32));
        assert!(page().contains(&line));
    }

    fn page() -> String {
        let mut network = NetworkSettings::default();
        network
            .set(Property::find("outgate.address").unwrap(), "192.0.2.10/24")
            .unwrap();
        let connector = Connector {
            name: "mumbai-01".parse().unwrap(),
            mac: "00:50:56:0a:0b:0c".parse().unwrap(),
            group: Some("Mumbai".parse().unwrap()),
            edge: Some("edge.example.org".parse().unwrap()),
            network,
        };
        let ova = FileFacts {
            name: "mumbai-01.ova".into(),
            sha256: "ab".repeat(32),
        };
        text(&connector, "0.1.0", &[ova])
    }
}
