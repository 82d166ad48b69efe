//! Kernel settings that are made at run time, each with its reason.
//!
//! They are applied before the link goes up: nothing may leave the machine under the defaults.

use std::fs;
use std::io;

/// One setting.
#[derive(Debug)]
pub struct Sysctl {
    /// Its dotted name. A `*` stands for `all`, `default` and each NIC there is: on 6.12 `all` does not
    /// reach a NIC that exists already, and `default` reaches only those that appear later.
    pub name: &'static str,
    /// Its value.
    pub value: &'static str,
    /// Why.
    pub reason: &'static str,
}

const fn set(name: &'static str, value: &'static str, reason: &'static str) -> Sysctl {
    Sysctl {
        name,
        value,
        reason,
    }
}

/// Every setting, in the order in which they are made.
pub const SYSCTLS: &[Sysctl] = &[
    // What leaves the machine unasked.
    set(
        "net.ipv6.conf.*.disable_ipv6",
        "1",
        "no frame of IPv6 leaves before PID 1 switches it on for the one NIC that has it",
    ),
    set(
        "net.ipv6.conf.*.addr_gen_mode",
        "1",
        "no link-local address by itself: PID 1 gives the NIC its own",
    ),
    set(
        "net.ipv6.conf.*.accept_ra",
        "0",
        "no router configures the kernel: netd reads advertisements, PID 1 decides",
    ),
    set(
        "net.ipv6.conf.*.accept_redirects",
        "0",
        "no router rewrites routes",
    ),
    set(
        "net.ipv6.conf.*.accept_source_route",
        "0",
        "the sender does not choose the path",
    ),
    set(
        "net.ipv6.icmp.echo_ignore_all",
        "1",
        "the machine answers nothing, not even a ping",
    ),
    set(
        "net.ipv6.icmp.echo_ignore_multicast",
        "1",
        "the same, should the line above ever go",
    ),
    set(
        "net.ipv4.icmp_echo_ignore_all",
        "1",
        "the machine answers nothing, not even a ping",
    ),
    set(
        "net.ipv4.icmp_echo_ignore_broadcasts",
        "1",
        "no part in amplification, should the line above ever go",
    ),
    set(
        "net.ipv4.icmp_ignore_bogus_error_responses",
        "1",
        "a broken router does not fill the log",
    ),
    set(
        "net.ipv4.icmp_msgs_per_sec",
        "0",
        "no ICMP error leaves either: the kernel has no socket for netd's DHCP answers and would refuse them to the server",
    ),
    set(
        "net.ipv4.igmp_link_local_mcast_reports",
        "0",
        "no IGMP for groups nobody joined",
    ),
    set(
        "net.ipv4.conf.*.accept_redirects",
        "0",
        "no router rewrites routes",
    ),
    set(
        "net.ipv4.conf.*.send_redirects",
        "0",
        "the machine is not a router",
    ),
    set(
        "net.ipv4.conf.*.accept_source_route",
        "0",
        "the sender does not choose the path",
    ),
    set(
        "net.ipv4.conf.*.rp_filter",
        "1",
        "a packet whose answer would leave elsewhere is forged",
    ),
    set(
        "net.ipv4.tcp_syncookies",
        "1",
        "nothing listens; it costs nothing should that ever change",
    ),
    set(
        "net.ipv4.tcp_mtu_probing",
        "1",
        "where a firewall swallows \"fragmentation needed\", a stalled connection finds the path's \
         size by itself (RFC 4821); of IPv6 too",
    ),
    set(
        "net.ipv4.tcp_base_mss",
        "1024",
        "the size at which that begins: it passes every tunnel that carries IPv6's 1280",
    ),
    set(
        "net.ipv4.tcp_mtu_probe_floor",
        "512",
        "and the smallest it tries: every IPv4 path passes 576 (RFC 791), and no forged message \
         has it send crumbs",
    ),
    set(
        "net.ipv4.tcp_congestion_control",
        "cubic",
        "measured best on the data plane's paths: BBR's pacing costs three times the CPU",
    ),
    set(
        "net.ipv4.tcp_slow_start_after_idle",
        "0",
        "a session that paused goes on as fast as it was",
    ),
    set(
        "net.ipv4.ip_local_port_range",
        "1024\t65535",
        "each session takes a port towards the edge, and nothing here listens on one",
    ),
    // What the machine's own processes may do.
    set(
        "dev.tty.ldisc_autoload",
        "0",
        "line disciplines are a long list of old bugs",
    ),
    set(
        "dev.tty.legacy_tiocsti",
        "0",
        "no process types into another one's terminal",
    ),
    set(
        "fs.protected_fifos",
        "2",
        "no tricks with files in shared directories",
    ),
    set("fs.protected_hardlinks", "1", "the same"),
    set("fs.protected_regular", "2", "the same"),
    set("fs.protected_symlinks", "1", "the same"),
    set(
        "fs.suid_dumpable",
        "0",
        "a process that changed its user leaves no memory image",
    ),
    set("kernel.core_pattern", "", "nor does any other"),
    set(
        "kernel.dmesg_restrict",
        "1",
        "the kernel's log is for PID 1",
    ),
    set(
        "kernel.io_uring_disabled",
        "1",
        "for all but the group that follows",
    ),
    set(
        "kernel.io_uring_group",
        "103",
        "the connector's: it waits for its sockets by a ring",
    ),
    set(
        "fs.file-max",
        "1048576",
        "by itself a tenth of the memory in KiB, which ends at half the sessions that find room",
    ),
    set(
        "kernel.kexec_load_disabled",
        "1",
        "no other kernel is started from this one",
    ),
    set("kernel.kptr_restrict", "2", "no kernel addresses in files"),
    set(
        "kernel.modules_disabled",
        "1",
        "no modules; there are none, and so it stays",
    ),
    set(
        "kernel.oops_limit",
        "100",
        "an attacker does not get to try for ever",
    ),
    set(
        "kernel.perf_event_paranoid",
        "3",
        "no performance counters for services",
    ),
    set(
        "kernel.randomize_va_space",
        "2",
        "addresses differ at every start",
    ),
    set("kernel.sysrq", "0", "no magic keys on the console"),
    set(
        "kernel.unprivileged_bpf_disabled",
        "1",
        "no programs in the kernel from services",
    ),
    set(
        "kernel.warn_limit",
        "100",
        "an attacker does not get to try for ever",
    ),
    set(
        "kernel.yama.ptrace_scope",
        "3",
        "no process looks into another",
    ),
    set(
        "net.core.bpf_jit_harden",
        "2",
        "no gadgets by constants in filters",
    ),
    set(
        "user.max_user_namespaces",
        "0",
        "no namespaces in which a service would be root",
    ),
    set(
        "vm.mmap_min_addr",
        "65536",
        "a null pointer in the kernel finds nothing",
    ),
    set(
        "vm.mmap_rnd_bits",
        "32",
        "as random as the architecture allows",
    ),
    set(
        "vm.unprivileged_userfaultfd",
        "0",
        "no help in winning races in the kernel",
    ),
];

/// Makes every setting of [`SYSCTLS`]. One that the kernel does not have is logged and passed over:
/// what it would forbid is not compiled in.
pub fn apply_all() {
    for setting in SYSCTLS {
        for path in paths(setting.name, interfaces) {
            apply(setting, &path);
        }
    }
}

/// Makes a setting of IPv6 on one interface, when it is known what the interface is for.
///
/// # Errors
/// If the kernel refuses, or does not do IPv6 on it.
pub fn set_of_ipv6(interface: &str, name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{name}"), value)
}

fn apply(setting: &Sysctl, path: &str) {
    match fs::write(path, setting.value) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::debug!("{path} is not in this kernel");
        }
        Err(error) => log::warn!(
            "{path} = {} ({}) failed: {error}",
            setting.value,
            setting.reason
        ),
    }
}

/// The files behind a dotted name; `list` names what is in the directory at the place of a `*`.
fn paths(name: &str, list: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    match path.split_once('*') {
        None => vec![path],
        Some((directory, rest)) => list(directory)
            .iter()
            .map(|entry| format!("{directory}{entry}{rest}"))
            .collect(),
    }
}

fn interfaces(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_is_made_twice() {
        let mut names: Vec<_> = SYSCTLS.iter().map(|s| s.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SYSCTLS.len());
    }

    #[test]
    fn the_group_that_has_io_uring_is_the_connectors() {
        let group = SYSCTLS.iter().find(|s| s.name == "kernel.io_uring_group");
        let uid = crate::service::Service::Connector.uid().to_string();
        assert_eq!(group.unwrap().value, uid);
    }

    #[test]
    fn a_dotted_name_becomes_a_path_below_proc_sys() {
        let nothing = |_: &str| Vec::new();
        let path = "/proc/sys/net/ipv4/tcp_syncookies";
        assert_eq!(paths("net.ipv4.tcp_syncookies", nothing), [path]);
    }

    #[test]
    fn a_star_reaches_every_nic_whatever_its_name() {
        let list = |directory: &str| {
            assert_eq!(directory, "/proc/sys/net/ipv4/conf/");
            vec!["all".to_owned(), "eth0.10".to_owned()]
        };
        let expected = [
            "/proc/sys/net/ipv4/conf/all/rp_filter",
            "/proc/sys/net/ipv4/conf/eth0.10/rp_filter",
        ];
        assert_eq!(paths("net.ipv4.conf.*.rp_filter", list), expected);
    }
}
