//! A machine with the store's code on the model of a disk, and what it remembers in the course of its life.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use appliance::store::{self, NoTpm, Opened, Store, UnsealError, Unsealer};
use connector_proto::local::NoIdentity;
use connector_proto::message::RatchetValue;
use connector_proto::record::{
    self, DEVICE_AT, DEVICE_LEN, DEVICE_PLACES, DeviceSecret, Identity, Next, Record, SealingKey,
    State,
};
use tests::block_device::BlockDevice;
use tests::write_log::Operation;
use zeroize::Zeroizing;

/// Bytes of a state partition that are used.
pub const USED: usize = DEVICE_AT + DEVICE_PLACES * DEVICE_LEN;

/// What of a machine decides which records it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    pub uuid: [u8; 16],
    /// Which TPM it has.
    pub tpm: Option<u8>,
}

pub const MACHINE: Hardware = Hardware {
    uuid: [3; 16],
    tpm: None,
};

/// A store on a disk in memory.
pub struct Machine {
    disk: Rc<RefCell<BlockDevice>>,
    pub store: Store<Model>,
    pub why: Option<NoIdentity>,
}

impl Machine {
    /// Starts it; a disk that can be read is never an error.
    pub fn start(hardware: Hardware, content: &[u8]) -> Self {
        let disk = Rc::new(RefCell::new(BlockDevice::new(content.to_vec())));
        let unsealer: Box<dyn Unsealer> = match hardware.tpm {
            Some(id) => Box::new(FakeTpm(id)),
            None => Box::new(NoTpm),
        };
        let model = Model(Rc::clone(&disk));
        let Opened { store, why } = Store::open_disk(model, hardware.uuid, unsealer).unwrap();
        Self { disk, store, why }
    }

    /// A machine that was enrolled under this name; its record is in both slots, written `writes` times.
    pub fn enrolled(hardware: Hardware, name: &str, writes: u8) -> Self {
        let mut machine = Self::start(hardware, &[0; USED]);
        for write in 1..=writes {
            machine.store.save(enrolled(name, write)).unwrap();
        }
        machine
    }

    pub fn content(&self) -> Vec<u8> {
        self.disk.borrow().content().to_vec()
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.disk.borrow().operations().to_vec()
    }

    /// From this many more writes and flushes on, the disk fails.
    pub fn fail_after(&self, operations: usize) {
        let mut disk = self.disk.borrow_mut();
        let done = disk.operations().len();
        disk.fail_after(done + operations);
    }

    /// Under which name it is enrolled; empty if it is not.
    pub fn name(&self) -> &str {
        let identity = self.store.state().identity.as_ref();
        identity.map_or("", |identity| &identity.name)
    }

    pub fn remembers(&self) -> Vec<u8> {
        bytes_of(self.store.state())
    }
}

/// A state in bytes, for comparing.
pub fn bytes_of(state: &State) -> Vec<u8> {
    let record = Record {
        generation: 0,
        state: state.clone(),
    };
    record::emit(&record, &SealingKey::derive(&[0; 32], None)).unwrap()
}

/// Key pair, enrolment, renewal in its three steps, ratchet values, a second root that makes the record
/// longer than a page: what a machine writes in its life, each state from the one before.
pub fn life() -> Vec<State> {
    let mut states = vec![State::default()];
    let mut then = |change: &dyn Fn(&mut State)| {
        let mut state = states.last().unwrap().clone();
        change(&mut state);
        states.push(state);
    };
    then(&|state| {
        state.private_key = vec![0x41; 138];
        state.edge = "edge.example:443".into();
    });
    then(&|state| state.identity = enrolled("mumbai-01", 1).identity.clone());
    then(&|state| state.ratchet = RatchetValue([1; 32]));
    then(&|state| {
        state.next = Some(Next {
            private_key: vec![0x42; 138],
            certificate: Vec::new(),
        });
    });
    then(&|state| state.next.as_mut().unwrap().certificate = vec![7; 500]);
    then(&|state| {
        let next = state.next.take().unwrap();
        state.private_key.clone_from(&next.private_key);
        let identity = state.identity.as_mut().unwrap();
        identity.certificate.clone_from(&next.certificate);
    });
    then(&|state| state.ratchet = RatchetValue([2; 32]));
    then(&|state| {
        let identity = state.identity.as_mut().unwrap();
        identity.ca = vec![8; 1500];
        identity.other_ca = vec![9; 1500];
        identity.certificate = vec![7; 1500];
    });
    states
}

/// The state of a connector; `write` tells one from another.
pub fn enrolled(name: &str, write: u8) -> State {
    let mut state = State::default();
    state.private_key = vec![0x41; 138];
    state.ratchet = RatchetValue([write; 32]);
    state.identity = Some(Identity {
        ca: vec![1; 450],
        other_ca: Vec::new(),
        certificate: vec![2; 450],
        connector_id: [5; 16],
        name: name.into(),
        group: "Mumbai".into(),
        grant_key: [6; 32],
    });
    state
}

/// The store's disk is a model.
#[derive(Debug)]
pub struct Model(Rc<RefCell<BlockDevice>>);

impl store::Disk for Model {
    fn read(&self, offset: usize, into: &mut [u8]) -> io::Result<()> {
        self.0.borrow().read(offset, into).map_err(io::Error::other)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.write(offset, bytes).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush().map_err(io::Error::other)
    }
}

/// What a TPM is to the store: only the one that sealed a secret unseals it.
#[derive(Debug)]
struct FakeTpm(u8);

impl Unsealer for FakeTpm {
    fn has_tpm(&self) -> bool {
        true
    }

    fn seal(&mut self, secret: &[u8; 32]) -> Result<DeviceSecret, UnsealError> {
        Ok(DeviceSecret::Tpm {
            public: vec![self.0],
            private: secret.iter().map(|byte| byte ^ 0xa5).collect(),
        })
    }

    fn unseal(&mut self, sealed: &DeviceSecret) -> Result<Zeroizing<[u8; 32]>, UnsealError> {
        let DeviceSecret::Tpm { public, private } = sealed else {
            return NoTpm.unseal(sealed);
        };
        let secret: Vec<u8> = private.iter().map(|byte| byte ^ 0xa5).collect();
        match secret.try_into() {
            Ok(secret) if *public == [self.0] => NoTpm.unseal(&DeviceSecret::Plain(secret)),
            _ => Err(UnsealError("another TPM sealed it".into())),
        }
    }
}
