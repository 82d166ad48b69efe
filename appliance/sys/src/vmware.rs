//! VMware's backdoor: an I/O port by which a guest exchanges messages with its hypervisor.
//!
//! The port answers a process without any privilege, and only where CPUID names the hypervisor; on
//! other machines the instruction would end the process. What the messages mean is the caller's to
//! know; the registers are those of VMware's `backdoor_def.h`. Only the low-bandwidth port is used,
//! whose exchange is in the registers alone and touches no memory.

#![expect(unsafe_code, reason = "an I/O instruction")]

use std::arch::asm;
use std::arch::x86_64::__cpuid;

/// One step of an exchange, as the guest says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which step.
    pub step: u16,
    /// The channel; 0 to open one.
    pub channel: u16,
    /// A length, four bytes of a message, or a status.
    pub value: u32,
    /// What the hypervisor gave when it opened the channel: high word, low word.
    pub cookie: (u32, u32),
}

/// What the hypervisor answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// How it went, as bits.
    pub status: u16,
    /// The channel that was opened, or the kind of what is sent.
    pub kind: u16,
    /// A length, or four bytes of a message.
    pub value: u32,
    /// Of a channel that was opened: high word, low word.
    pub cookie: (u32, u32),
}

/// The backdoor of a machine that has one.
#[derive(Debug)]
pub struct Backdoor {
    _found: (),
}

impl Backdoor {
    /// The backdoor, where CPUID says that the hypervisor is VMware's.
    #[must_use]
    pub fn find() -> Option<Self> {
        // Leaf 1, ECX bit 31: there is a hypervisor, and so the leaf that names it.
        let is_guest = __cpuid(1).ecx >> 31 == 1;
        let name = is_guest.then(|| __cpuid(HYPERVISOR_LEAF))?;
        let is_vmware = [name.ebx, name.ecx, name.edx] == VMWARE;
        is_vmware.then_some(Self { _found: () })
    }

    /// Makes one step.
    pub fn call(&mut self, request: Request) -> Reply {
        let pair = |high: u16, low: u16| u64::from(high) << 16 | u64::from(low);
        let mut value = u64::from(request.value);
        let mut command = pair(request.step, COMMAND_MESSAGE);
        let mut port = pair(request.channel, PORT);
        let mut cookie_high = u64::from(request.cookie.0);
        let mut cookie_low = u64::from(request.cookie.1);
        // SAFETY: `find` has seen that the hypervisor is VMware's, which lets the instruction pass
        // without privilege and, for this command on this port, answers in the six registers named
        // here and nowhere else. RBX, which the compiler keeps for itself, is put back.
        unsafe {
            asm!(
                "xchg rbx, {value}",
                "in eax, dx",
                "xchg rbx, {value}",
                value = inout(reg) value,
                inout("rax") MAGIC => _,
                inout("rcx") command,
                inout("rdx") port,
                inout("rsi") cookie_high,
                inout("rdi") cookie_low,
                options(nostack),
            );
        }
        Reply {
            status: high(command),
            kind: high(port),
            value: word(value),
            cookie: (word(cookie_high), word(cookie_low)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn word(register: u64) -> u32 {
    register as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the second word is meant")]
const fn high(register: u64) -> u16 {
    (register >> 16) as u16
}

/// "VMXh".
const MAGIC: u64 = 0x564d_5868;
const PORT: u16 = 0x5658;
const COMMAND_MESSAGE: u16 = 30;
const HYPERVISOR_LEAF: u32 = 0x4000_0000;
/// "VMwareVMware" in the order of EBX, ECX, EDX.
const VMWARE: [u32; 3] = [
    u32::from_le_bytes(*b"VMwa"),
    u32::from_le_bytes(*b"reVM"),
    u32::from_le_bytes(*b"ware"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "an instruction, not a function")]
    fn there_is_a_backdoor_where_the_firmware_is_vmwares_and_nowhere_else() {
        let vendor = std::fs::read_to_string("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
        assert_eq!(Backdoor::find().is_some(), vendor.starts_with("VMware"));
    }

    #[test]
    fn the_halves_of_a_register_are_told_apart() {
        assert_eq!(high(0xffff_ffff_0001_001e), 1);
        assert_eq!(word(0xffff_ffff_4943_5052), 0x4943_5052);
    }
}
