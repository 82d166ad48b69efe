//! What a process uses, by `/proc`.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Pid;

use crate::ground::WAY;

/// Descriptors that are open.
pub fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Memory of its own that is resident, in bytes: neither files nor what it shares.
pub fn memory(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib << 10
}

/// Processor time used so far.
pub fn processor_time(pid: Pid) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is a name that may hold anything.
    let (_, rest) = text.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Connections that connectors have to the edge: control and data channels that stand.
pub fn connections_to_the_edge() -> usize {
    let SocketAddr::V4(way) = WAY else {
        panic!("the way is IPv4");
    };
    // As the kernel writes it: the address in the machine's order, the port as a number.
    let address = u32::from_ne_bytes(way.ip().octets());
    let peer = format!("{address:08X}:{:04X}", way.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(str::split_whitespace);
    rows.filter(|row| {
        let row: Vec<&str> = row.clone().take(4).collect();
        row[2] == peer && row[3] == ESTABLISHED
    })
    .count()
}

/// In the kernel's table of TCP.
const ESTABLISHED: &str = "01";
