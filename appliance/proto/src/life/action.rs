//! What the life machine wants done.

use alloc::boxed::Box;

use crate::key::ProvisioningKey;
use crate::message::CloseCode;
use crate::record::State;

/// One thing to do, at once and in the order of the actions.
#[derive(Debug)]
pub enum Action {
    /// Make a P-256 key pair and answer with [`super::Life::handle_new_key`].
    NewKey,
    /// Write this state, flush it and read it back; answer with [`super::Life::handle_saved`].
    Save(Box<State>),
    /// Overwrite the whole state record and the device secret; answer with
    /// [`super::Life::handle_saved`].
    Erase,
    /// Open a connection; what becomes of it goes to [`super::Life::handle_event`]. There is none open.
    Open(Purpose),
    /// End the connection: with this reason, or without another byte on it. Nothing more of it is
    /// heard.
    Close(Option<CloseCode>),
    /// Send this on the control channel: the ratchet value is on the disk.
    RatchetStored {
        /// Its step.
        step: u64,
    },
    /// Send this on the control channel: the trust anchors are on the disk, and in
    /// [`super::Life::state`].
    TrustStored {
        /// [`crate::message::Trust::digest`] of them.
        digest: [u8; 32],
    },
}

/// What a connection is for, and whose key pair it is for. The edge is [`super::Life::edge`].
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To be enrolled with this key. The request is made with [`super::Life::requested_key`].
    Enrol {
        /// The key that was typed.
        key: ProvisioningKey,
    },
    /// To have the certificate renewed: TLS with the identity's own certificate, the request made
    /// with [`super::Life::requested_key`].
    Renew,
    /// The control channel.
    Control {
        /// With the certificate and the key in [`State::next`] instead of the identity's own.
        next: bool,
    },
}
