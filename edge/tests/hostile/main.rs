//! What a hostile peer can do to an edge: who it can pass for, whose session it can take, and what it can
//! use up.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

#[path = "../loopback"]
mod shared {
    #[expect(
        dead_code,
        unused_imports,
        reason = "most of it is for the other stories"
    )]
    pub mod harness;
}

mod besieged;
mod doors;

mod certificates;
mod chains;
mod classes;
mod resources;
mod sessions;
