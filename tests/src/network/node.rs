//! The thread that is the network: a switch with a port for each guest, and behind it one node
//! that is router, DHCP server, resolver, time server, and every host that answers.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::time::Instant as WireInstant;
use smoltcp::wire::{EthernetAddress, EthernetFrame, HardwareAddress, IpCidr};

use super::address::{EDGE, EDGE6, GATEWAY, GATEWAY_MAC, GATEWAY6_GLOBAL, PREFIX_LENGTH};
use super::flow::Flows;
use super::link::{Chance, DelayLine};
use super::port::Port;
use super::servers::Servers;
use super::settings::{Order, Settings, Shared};
use super::vlan;
use super::wire::Wire;
use crate::pcap::{Capture, Direction};

mod hosts;

/// Guests at the same time. Beyond it, new ones are turned away.
const PORTS_MAX: usize = 32;

/// Length of the IPv6 prefix, in bits.
const PREFIX6_LENGTH: u8 = 64;

/// The network's state, owned by its thread.
pub(crate) struct Node {
    listener: UnixListener,
    wake: Arc<OwnedFd>,
    shared: Arc<Mutex<Shared>>,
    capture: Capture,
    began: Instant,
    cables: HashMap<usize, Cable>,
    next_cable: usize,
    /// Which port a hardware address was last seen at.
    seen_at: HashMap<[u8; 6], usize>,
    chance: Chance,
    servers: Servers,
    /// Frames that servers send later, or that were ordered.
    later: DelayLine<Vec<u8>>,
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    flows: Flows,
}

/// A port and the frames on their way through its cable.
struct Cable {
    port: Port,
    from_guest: DelayLine<Vec<u8>>,
    to_guest: DelayLine<Vec<u8>>,
}

impl Node {
    pub(crate) fn new(
        listener: UnixListener,
        wake: Arc<OwnedFd>,
        shared: Arc<Mutex<Shared>>,
        capture: Capture,
        seed: u64,
    ) -> Self {
        let began = Instant::now();
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(GATEWAY_MAC)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, WireInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The first of at least two: there is room.
            let _ = addresses.push(IpCidr::new(GATEWAY.into(), PREFIX_LENGTH));
            let _ = addresses.push(IpCidr::new(GATEWAY6_GLOBAL.into(), PREFIX6_LENGTH));
        });
        // Which hosts exist is decided in `ip_from_guest`, before a packet gets here.
        interface.set_any_ip(true);
        Self {
            listener,
            wake,
            shared,
            capture,
            began,
            cables: HashMap::new(),
            next_cable: 0,
            seen_at: HashMap::new(),
            chance: Chance::new(seed),
            servers: Servers::new(seed),
            later: DelayLine::default(),
            interface,
            wire,
            sockets: SocketSet::new(Vec::new()),
            flows: Flows::default(),
        }
    }

    /// Runs until the handle is dropped.
    pub(crate) fn run(mut self) -> io::Result<()> {
        loop {
            self.accept()?;
            // Read before the settings are: whoever changes them knows that no frame sent
            // afterwards meets the old ones.
            let frames = self.read_ports();
            let Some(settings) = self.take_orders() else {
                return Ok(());
            };
            self.enter_cables(&settings, frames);
            self.deliver_to_node(&settings);
            self.send_what_is_due(&settings);
            self.poll_stack(&settings);
            // Told before the guest can act on what it receives.
            self.report();
            self.deliver_to_guests();
            // The capture reports its own failure to whoever asks for its file.
            let _ = self.capture.flush();
            self.wait()?;
        }
    }

    /// The current settings, after doing what was ordered; None at the end.
    fn take_orders(&mut self) -> Option<Settings> {
        // Empties the counter; there is nothing to read when something else woke us.
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.ended {
            return None;
        }
        let orders = std::mem::take(&mut shared.orders);
        let settings = shared.settings.clone();
        drop(shared);
        for order in orders {
            self.obey(&settings, order);
        }
        Some(settings)
    }

    fn obey(&mut self, settings: &Settings, order: Order) {
        match order {
            Order::Cut(address) => self.flows.cut(&mut self.sockets, address),
            Order::Advertise => self.advertise(settings),
            Order::Send { frames, gap } => {
                let now = Instant::now();
                let mut at = Duration::ZERO;
                for frame in frames {
                    self.later.push(now, at, frame);
                    at += gap;
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) if self.cables.len() < PORTS_MAX => {
                    let port = Port::new(stream)?;
                    let (from_guest, to_guest) = (DelayLine::default(), DelayLine::default());
                    self.cables.insert(
                        self.next_cable,
                        Cable {
                            port,
                            from_guest,
                            to_guest,
                        },
                    );
                    self.next_cable += 1;
                }
                Ok(_) => {}
                Err(error) if super::port::is_transient(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The frames that guests sent, with the cable each was put into.
    fn read_ports(&mut self) -> Vec<(usize, Vec<u8>)> {
        let capture = &self.capture;
        let mut frames = Vec::new();
        self.cables.retain(|&index, cable| {
            let received = cable.port.receive(|frame| {
                capture.record(Direction::FromGuest, &frame);
                frames.push((index, frame));
            });
            // A closed port is a machine that was switched off.
            received.is_ok()
        });
        frames
    }

    /// Sends frames on their way through the cables.
    fn enter_cables(&mut self, settings: &Settings, frames: Vec<(usize, Vec<u8>)>) {
        let now = Instant::now();
        for (index, frame) in frames {
            let is_lost = is_lost(settings, &mut self.chance);
            let frame = match settings.vlan {
                Some(id) => vlan::untagged(&frame, id),
                None => Some(frame),
            };
            // The frame of another VLAN goes nowhere.
            let Some(frame) = frame else { continue };
            if let Some(cable) = self.cables.get_mut(&index).filter(|_| !is_lost) {
                cable.from_guest.push(now, settings.latency, frame);
            }
        }
    }

    /// Acts on the frames that have arrived at the switch.
    fn deliver_to_node(&mut self, settings: &Settings) {
        let now = Instant::now();
        let mut arrived = Vec::new();
        for (&index, cable) in &mut self.cables {
            while let Some(frame) = cable.from_guest.pop(now) {
                arrived.push((index, frame));
            }
        }
        for (index, frame) in arrived {
            self.switch(settings, index, frame);
        }
    }

    fn switch(&mut self, settings: &Settings, from_cable: usize, frame: Vec<u8>) {
        let Ok(ethernet) = EthernetFrame::new_checked(&frame) else {
            return;
        };
        let (from, to) = (ethernet.src_addr(), ethernet.dst_addr());
        self.seen_at.insert(from.0, from_cable);
        if !to.is_unicast() {
            let others: Vec<_> = self
                .cables
                .keys()
                .copied()
                .filter(|&index| index != from_cable)
                .collect();
            for index in others {
                self.send(settings, index, frame.clone());
            }
            self.node_input(settings, &frame);
        } else if to.0 == GATEWAY_MAC {
            self.node_input(settings, &frame);
        } else if let Some(&index) = self.seen_at.get(&to.0) {
            self.send(settings, index, frame);
        }
    }

    /// Sends a frame to whom it is addressed to.
    fn send_to(&mut self, settings: &Settings, frame: Vec<u8>) {
        if let Some(to) = frame.first_chunk::<6>() {
            self.send_to_mac(settings, *to, frame);
        }
    }

    fn send_to_mac(&mut self, settings: &Settings, mac: [u8; 6], frame: Vec<u8>) {
        if !EthernetAddress(mac).is_unicast() {
            let all: Vec<_> = self.cables.keys().copied().collect();
            for index in all {
                self.send(settings, index, frame.clone());
            }
        } else if let Some(&index) = self.seen_at.get(&mac) {
            self.send(settings, index, frame);
        }
    }

    /// Puts a frame into a cable.
    fn send(&mut self, settings: &Settings, cable: usize, frame: Vec<u8>) {
        if is_lost(settings, &mut self.chance) {
            return;
        }
        let frame = match settings.vlan {
            Some(id) => vlan::tagged(&frame, id),
            None => frame,
        };
        if let Some(cable) = self.cables.get_mut(&cable) {
            cable.to_guest.push(Instant::now(), settings.latency, frame);
        }
    }

    /// Writes the frames that have arrived at guests' ports.
    fn deliver_to_guests(&mut self) {
        let now = Instant::now();
        let capture = &self.capture;
        self.cables.retain(|_, cable| {
            while let Some(frame) = cable.to_guest.pop(now) {
                if cable.port.send(&frame) {
                    capture.record(Direction::ToGuest, &frame);
                }
            }
            cable.port.flush().is_ok()
        });
    }

    /// Tells the handle what it may ask for.
    fn report(&self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |edge: SocketAddr| self.flows.open_to(&self.sockets, edge);
        shared.edge_connections = open(EDGE.into()) + open(EDGE6.into());
    }

    /// Waits until a socket, the handle or a timer wants something.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout().map(timespec);
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
        ];
        for cable in self.cables.values() {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, cable.port.wants_write());
            fds.push(PollFd::from_borrowed_fd(cable.port.as_fd(), flags));
        }
        let flows = self.flows.interests(&self.sockets);
        fds.extend(flows.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How long there is nothing to do unless something arrives.
    fn timeout(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let lines = self.cables.values().flat_map(|cable| {
            [cable.from_guest.next_due(), cable.to_guest.next_due()]
                .into_iter()
                .flatten()
        });
        let lines = lines
            .chain(self.later.next_due())
            .min()
            .map(|due| due.saturating_duration_since(now));
        let wire_now = self.wire_now();
        let stack = self
            .interface
            .poll_delay(wire_now, &self.sockets)
            .map(Duration::from);
        lines.into_iter().chain(stack).min()
    }

    fn wire_now(&self) -> WireInstant {
        let micros = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        WireInstant::from_micros(micros)
    }
}

/// Whether the cable swallows a frame.
fn is_lost(settings: &Settings, chance: &mut Chance) -> bool {
    settings.faults.partitioned || chance.strikes(settings.loss_per_mille)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
