//! A typed machine turned into a QEMU command line; runs it.
//!
//! In reading order:
//!
//! 1. [`machine`], [`mac`]: pure: what a machine is, and the arguments it means.
//! 2. [`host`], [`accel`]: what this computer has: QEMU, firmware, and whether KVM really works.
//! 3. [`child`]: programs that do not outlive us. [`process`]: a running machine, [`process::Vm`].
//! 4. [`transcript`], [`console`]: the serial console: everything it said, waiting, typing.
//! 5. [`qmp`], [`screen`]: buttons, cables, the emulated screen and keyboard. [`picture`],
//!    [`teletype`]: whether a picture of the screen shows what was written.
//! 6. [`terminal`]: the console on a person's terminal. [`temp`]: folders that vanish.
//!
//! A [`process::Vm`] guarantees: QEMU is killed when the value is dropped or this process dies;
//! everything the console said is kept; every wait has a limit and says what it waited for.
//! This crate knows nothing of what runs in the machine.
#![forbid(unsafe_code)]

pub mod mac;
pub mod machine;

pub mod accel;
pub mod host;

pub mod child;
pub mod process;

pub mod console;
pub mod transcript;

pub mod picture;
pub mod qmp;
pub mod screen;
pub mod teletype;

pub mod temp;
pub mod terminal;
