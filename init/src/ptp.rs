//! The hypervisor's clock, where the kernel has a driver for it: a hint, nothing more.
//!
//! The host may be wrong, and its clock in local time. The hint only raises a clock that nobody has
//! confirmed.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use crate::clock::{self, RealMicros};
use crate::hardware::read_bounded;

/// Where the kernel lists such clocks.
pub const CLASS: &str = "/sys/class/ptp";
/// The names of the drivers `ptp_kvm` and `ptp_vmw`; a NIC's clock would have another.
const NAMES: [&str; 2] = ["KVM virtual PTP", "ptp_vmw"];

/// The hypervisor's time, if it offers one, and the name of the driver.
#[must_use]
pub fn hint() -> Option<(&'static str, RealMicros)> {
    let (device, name) = find(Path::new(CLASS))?;
    let time = File::open(Path::new("/dev").join(&device))
        .and_then(|device| clock::of_device(device.as_fd()));
    match time {
        Ok(real_us) => Some((name, real_us)),
        Err(error) => {
            log::info!("{device} ({name}): {error}");
            None
        }
    }
}

/// The first hypervisor's clock in `class`, and its driver's name.
fn find(class: &Path) -> Option<(String, &'static str)> {
    let listed = fs::read_dir(class).into_iter().flatten().flatten();
    let mut devices: Vec<_> = listed
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    devices.sort_unstable();
    devices.into_iter().find_map(|device| {
        let said = read_bounded(class.join(&device).join("clock_name"), 64)?;
        let name = NAMES.into_iter().find(|name| *name == said.trim())?;
        Some((device, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hypervisor_s_clock_is_one() {
        let class = std::env::temp_dir().join(format!("outgate-ptp-{}", std::process::id()));
        let clock = |device: &str, name: &str| {
            fs::create_dir_all(class.join(device)).unwrap();
            fs::write(class.join(device).join("clock_name"), name).unwrap();
        };
        assert_eq!(find(&class), None);
        clock("ptp0", "igb 0000:01:00.0\n");
        assert_eq!(find(&class), None);
        clock("ptp1", "KVM virtual PTP\n");
        assert_eq!(find(&class), Some(("ptp1".to_owned(), "KVM virtual PTP")));
        fs::remove_dir_all(&class).unwrap();
    }
}
