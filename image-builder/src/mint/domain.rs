//! Pure: the libvirt domain of a connector.

use crate::mint::commands::{LIBVIRT_IMAGES, MEMORY_MIB};
use crate::mint::connector::Connector;

/// The domain as XML, for `virsh define`.
///
/// Everything a connector uses and nothing else: no USB, no sound, no second network card. No
/// comment says its name, which may have two dashes in a row.
#[must_use]
pub fn xml(connector: &Connector) -> String {
    let Connector {
        name, mac, group, ..
    } = connector;
    let uuid = connector.uuid();
    let description = match group {
        Some(group) => format!("Connector {name} of group {group}, MAC {mac}. Deploy once."),
        None => format!("Connector {name}, MAC {mac}. Deploy once."),
    };
    let description = escaped(&description);
    format!(
        "<domain type='kvm'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <genid/>
  <title>Outgate {name}</title>
  <description>{description}</description>
  <memory unit='MiB'>{MEMORY_MIB}</memory>
  <vcpu>1</vcpu>
  <!-- BIOS. For UEFI, without Secure Boot:
  <os firmware='efi'>
    <type arch='x86_64' machine='q35'>hvm</type>
    <firmware>
      <feature enabled='no' name='secure-boot'/>
    </firmware>
  </os> -->
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='maximum'/>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <devices>
    <!-- Copy the qcow2 there first. -->
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{LIBVIRT_IMAGES}/{name}.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <boot order='1'/>
    </disk>
    <!-- For a bridge of the host: <interface type='bridge'> and <source bridge='br0'/>. -->
    <interface type='network'>
      <mac address='{mac}'/>
      <source network='default'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <controller type='usb' model='none'/>
    <serial type='pty'>
      <target type='isa-serial' port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <input type='keyboard' bus='ps2'/>
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
    <video>
      <model type='vga'/>
    </video>
    <watchdog model='i6300esb' action='reset'/>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}

/// Text between tags. Names and MACs need none of it; a group may.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_cannot_break_out_of_its_place() {
        let connector = Connector {
            name: "mumbai-01".parse().unwrap(),
            mac: "00:50:56:0a:0b:0c".parse().unwrap(),
            group: Some("</description><disk> & Co --".parse().unwrap()),
            edge: None,
            network: crate::mint::settings::NetworkSettings::default(),
        };
        let xml = xml(&connector);
        assert!(
            xml.contains("&lt;/description&gt;&lt;disk&gt; &amp; Co --"),
            "{xml}"
        );
        assert_eq!(xml.matches("<disk").count(), 1);
        assert_eq!(xml.matches("<mac address='00:50:56:0a:0b:0c'/>").count(), 1);
    }
}
