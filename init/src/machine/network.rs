//! What PID 1 does about the network: the NIC, what a DHCP server leases or a setting gives it, and
//! IPv6 ([`super::ipv6`]). It can change between all of them while the machine runs.

use std::time::Duration;

use connector_proto::local::{
    Hostname, Ipv6Setting, Lease, LeaseOrigin, StaticIpv4, TimeServer, ToNetd,
};
use connector_proto::time::Instant;

use super::Machine;
use crate::hostname;
use crate::hub::{SLOT_START, Topic};
use crate::ipv6::{Autoconf, Wanted};
use crate::lease;
use crate::netlink::Link;
use crate::network::Change;
use crate::service::{Condition, Service};

/// PID 1 takes a lease back this long after its end, if `netd` did not.
const LEASE_GRACE: Duration = Duration::from_secs(5);

/// What PID 1 knows about the network beyond what it told the services.
#[derive(Debug, Default)]
pub(super) struct NetworkState {
    /// What is set, as far as it was carried out; `None` until the settings are known.
    plan: Option<Plan>,
    /// When the lease ends unless it is renewed.
    lease_until: Option<Instant>,
    /// The addresses that routers advertised.
    pub(super) autoconf: Option<Autoconf>,
    /// What the link was given of IPv6.
    pub(super) ipv6: Wanted,
    /// Whether the link's MTU allows IPv6.
    pub(super) allows_ipv6: bool,
    hostname: Option<Hostname>,
}

/// The settings that decide what the NIC is given, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    vlan: Option<u16>,
    ipv4: Option<StaticIpv4>,
    pub(super) ipv6: Ipv6Setting,
    hostname: Option<Hostname>,
}

impl NetworkState {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let autoconf = self.autoconf.as_ref().and_then(Autoconf::poll_timeout);
        self.lease_until.into_iter().chain(autoconf).min()
    }

    pub(super) const fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }
}

impl Machine {
    /// Carries out what is set for the network ([`crate::hub::Hub::settings`]). Called when the
    /// settings are known, before which no NIC is touched, and whenever they have changed.
    pub(super) fn apply_settings(&mut self, now: Instant) {
        let plan = self.plan_of_settings();
        let old = self.net.plan.replace(plan.clone());
        self.set_hostname();
        if old.as_ref().and_then(|old| old.vlan) != plan.vlan {
            self.move_to_vlan(now, plan.vlan);
        } else if old.as_ref() == Some(&plan) {
            // Resolvers and time servers may have changed.
            self.take_static_lease(now);
        } else {
            let is_ipv6_new = old.is_none_or(|old| old.ipv6 != plan.ipv6);
            self.start_on_nic(now, is_ipv6_new);
        }
    }

    fn plan_of_settings(&self) -> Plan {
        let settings = self.hub.settings();
        let minted = || hostname::parse(&self.settings.minted_name()?);
        Plan {
            vlan: settings.vlan,
            ipv4: settings.ipv4,
            ipv6: settings.ipv6.unwrap_or(Ipv6Setting::Auto),
            hostname: settings.hostname.clone().or_else(minted),
        }
    }

    /// Looks at the network links and tells everybody what changed.
    pub(super) fn look_at_links(&mut self, now: Instant) {
        if self.net.plan.is_none() {
            return; // nothing may leave before it is known by which VLAN
        }
        for change in self.network.refresh() {
            match change {
                Change::Found(link) => self.use_nic(now, &link),
                Change::Lost => self.lose_nic(now),
                Change::Carrier(up) => {
                    log::info!("the link is {}", if up { "up" } else { "down" });
                    if let Some(autoconf) = self.net.autoconf.as_mut().filter(|_| up) {
                        autoconf.handle_carrier_up();
                    }
                    let letters = self.hub.carrier(now, up);
                    self.deliver(letters);
                }
                Change::Unusable(sentence) => self.tell_problem(now, Topic::Lease, &sentence),
            }
        }
        self.tell_ipv6(now);
    }

    fn use_nic(&mut self, now: Instant, link: &Link) {
        let mac = link.mac.unwrap_or_default();
        log::info!("NIC {} with MAC {mac:02x?}", link.name);
        let letters = self.hub.nic_found(now, &link.name, mac);
        self.deliver(letters);
        self.check_evidence(now);
        self.start_on_nic(now, true);
        self.supervisor.handle_condition(now, Condition::Nic);
    }

    fn lose_nic(&mut self, now: Instant) {
        log::warn!("the NIC is gone");
        self.net.lease_until = None;
        self.net.autoconf = None;
        self.net.ipv6 = Wanted::default();
        let letters = self.hub.nic_lost(now);
        self.deliver(letters);
        // `netd` goes on: it is given the next NIC as soon as there is one.
        self.supervisor.handle_condition_lost(Condition::Nic);
        self.note_whether_up(now);
    }

    fn move_to_vlan(&mut self, now: Instant, vlan: Option<u16>) {
        let had_nic = self.network.mac().is_some();
        if had_nic {
            self.net.lease_until = None;
            self.net.autoconf = None;
            self.network.remove_ipv4();
            self.network.switch_ipv6_off();
        }
        if let Err(error) = self.network.set_vlan(vlan) {
            self.refused(now, Topic::Lease, &error.to_string());
            return self.lose_nic(now);
        }
        if had_nic {
            let letters = self.hub.lease_lost(now);
            self.deliver(letters);
            let letters = self.hub.ipv6_lost(now);
            self.deliver(letters);
            self.note_whether_up(now);
            // The carrier of the other link is told when it has come up.
            let letters = self.hub.carrier(now, false);
            self.deliver(letters);
            self.start_on_nic(now, true);
            self.look_at_links(now);
        }
    }

    /// Has the NIC given what the plan says. A plan that changes only in part leaves the rest.
    fn start_on_nic(&mut self, now: Instant, is_ipv6_new: bool) {
        if self.network.mac().is_none() {
            return;
        }
        self.net.allows_ipv6 = self.network.allows_ipv6();
        if is_ipv6_new {
            self.start_ipv6(now);
        }
        self.take_static_lease(now);
        self.start_netd();
    }

    /// Gives a running `netd` the link as it is now. One that is started is given it anyway.
    pub(super) fn start_netd(&mut self) {
        if self.processes[Service::Netd.index()].is_some()
            && let Err(error) = self.greet(Service::Netd)
        {
            log::error!("cannot give netd the NIC: {error}");
        }
    }

    /// Sends `netd` its `Start`.
    pub(super) fn send_netd_start(&mut self) -> std::io::Result<()> {
        let plan = self.net.plan.as_ref();
        let start = ToNetd::Start {
            mac: self.network.mac().ok_or(std::io::ErrorKind::NotFound)?,
            hostname: plan.and_then(|plan| plan.hostname.clone()),
            dhcp: plan.is_some_and(|plan| plan.ipv4.is_none()),
            link_local: self.network.link_local().filter(|_| self.is_auto_ipv6()),
        };
        let socket = self.network.packet_socket()?;
        self.send(Service::Netd, SLOT_START, &start, vec![socket])
    }

    /// Gives the NIC the address that is set, or takes one away that is set no more.
    fn take_static_lease(&mut self, now: Instant) {
        let fixed = self.net.plan.as_ref().and_then(|plan| plan.ipv4);
        let holds_static = self.holds_static();
        match fixed {
            Some(fixed) => {
                let lease = self.static_lease(&fixed);
                if !self.take_lease(now, &lease) {
                    self.lose_lease(now);
                }
            }
            None if holds_static => self.lose_lease(now),
            None => {}
        }
    }

    fn holds_static(&self) -> bool {
        let lease = self.hub.lease();
        lease.is_some_and(|lease| lease.origin == LeaseOrigin::Static)
    }

    fn static_lease(&self, fixed: &StaticIpv4) -> Lease {
        let settings = self.hub.settings();
        let ntp_servers = settings.ntp.iter().filter_map(|server| match server {
            TimeServer::Address(address) => Some(*address),
            TimeServer::Name(_) => None,
        });
        Lease {
            address: fixed.address,
            prefix_len: fixed.prefix_len,
            router: fixed.gateway,
            resolvers: settings.resolvers.clone(),
            ntp_servers: ntp_servers.collect(),
            mtu: None,
            hostname: None,
            lease_s: lease::LEASE_S_MAX,
            origin: LeaseOrigin::Static,
        }
    }

    /// Takes what `netd` was leased, unless an address was set since.
    pub(super) fn take_dhcp_lease(&mut self, now: Instant, lease: &Lease) {
        let is_asked = self.net.plan().is_some_and(|plan| plan.ipv4.is_none());
        let is_dhcp = matches!(lease.origin, LeaseOrigin::Dhcp { .. });
        if is_asked && is_dhcp && self.network.mac().is_some() {
            self.take_lease(now, lease);
        }
    }

    /// `netd` has lost its lease.
    pub(super) fn lose_dhcp_lease(&mut self, now: Instant) {
        if !self.holds_static() {
            self.lose_lease(now);
        }
    }

    /// Checks a lease and applies it; `false` if it cannot be used.
    fn take_lease(&mut self, now: Instant, offered: &Lease) -> bool {
        let lease = match lease::check(offered) {
            Ok(lease) => lease,
            Err(error) => {
                self.refused(now, Topic::Lease, &error.to_string());
                return false;
            }
        };
        if let Err(error) = self.network.apply_ipv4(&lease) {
            self.refused(now, Topic::Lease, &error.to_string());
            return false;
        }
        self.hub.solved(Topic::Lease);
        let ends_in = Duration::from_secs(u64::from(lease.lease_s)) + LEASE_GRACE;
        let is_dhcp = lease.origin != LeaseOrigin::Static;
        self.net.lease_until = is_dhcp.then(|| now + ends_in);
        if self.hub.lease().map(|held| held.address) != Some(lease.address) {
            let (address, len) = (lease.address, lease.prefix_len);
            log::info!("address {address}/{len} by {:?}", lease.origin);
        }
        let letters = self.hub.leased(now, lease);
        self.deliver(letters);
        self.set_hostname();
        self.follow_mtu(now);
        self.note_whether_up(now);
        true
    }

    /// Takes away what the lease gave.
    fn lose_lease(&mut self, now: Instant) {
        if self.hub.lease().is_some() {
            log::warn!("the lease has ended");
        }
        self.net.lease_until = None;
        self.network.remove_ipv4();
        let letters = self.hub.lease_lost(now);
        self.deliver(letters);
        self.note_whether_up(now);
    }

    /// The machine is up while it has an address of either family.
    pub(super) fn note_whether_up(&mut self, now: Instant) {
        if self.hub.network().is_some() {
            self.supervisor.handle_condition(now, Condition::NetUp);
        } else {
            self.supervisor.handle_condition_lost(Condition::NetUp);
        }
    }

    /// Takes the lease and the IPv6 addresses away at their end.
    pub(super) fn check_network_timeouts(&mut self, now: Instant) {
        // `netd` says so before, unless it is broken.
        if self.net.lease_until.is_some_and(|until| until <= now) {
            self.lose_lease(now);
        }
        self.check_ipv6_timeout(now);
    }

    /// The name that is set, else the one the DHCP server gives.
    fn set_hostname(&mut self) {
        let plan = self.net.plan.as_ref();
        let own = plan.and_then(|plan| plan.hostname.as_ref());
        let given = self.hub.lease().and_then(|lease| lease.hostname.as_ref());
        let Some(name) = own.or(given).cloned() else {
            return;
        };
        if self.net.hostname.as_ref() == Some(&name) {
            return;
        }
        match rustix::system::sethostname(name.as_bytes()) {
            Ok(()) => log::info!("host name {name}"),
            Err(error) => log::warn!("The kernel refuses host name {name}: {error}."),
        }
        self.net.hostname = Some(name);
    }

    pub(super) fn refused(&mut self, now: Instant, topic: Topic, sentence: &str) {
        log::error!("{sentence}");
        self.tell_problem(now, topic, sentence);
    }
}
