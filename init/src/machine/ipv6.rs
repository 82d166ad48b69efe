//! What PID 1 does about IPv6: switches it on where it is wanted, and has [`crate::ipv6`] decide what
//! becomes of what routers advertise.

use connector_proto::local::{Ipv6Setting, RouterAdvert};
use connector_proto::time::Instant;

use super::Machine;
use crate::hub::Topic;
use crate::ipv6::{self, Autoconf, MTU_MIN, Wanted};

impl Machine {
    /// Starts over with what is set for IPv6 on the NIC.
    pub(super) fn start_ipv6(&mut self, now: Instant) {
        self.net.autoconf = None;
        self.hub.solved(Topic::Router);
        let setting = self.net.plan().map_or(Ipv6Setting::Off, |plan| plan.ipv6);
        if setting == Ipv6Setting::Off || !self.net.allows_ipv6 {
            self.network.switch_ipv6_off();
            self.net.ipv6 = Wanted::default();
            return self.tell_ipv6(now);
        }
        if let Err(error) = self.network.switch_ipv6_on() {
            self.refused(now, Topic::Router, &error.to_string());
        }
        match setting {
            Ipv6Setting::Static {
                address,
                prefix_len,
                gateway,
            } => match ipv6::check_static(address, prefix_len, gateway) {
                Ok(wanted) => self.give_ipv6(now, wanted),
                Err(error) => {
                    self.refused(now, Topic::Router, &error.to_string());
                    self.give_ipv6(now, Wanted::default());
                }
            },
            Ipv6Setting::Auto | Ipv6Setting::Off => {
                self.net.autoconf = self.network.mac().map(Autoconf::new);
                self.give_ipv6(now, Wanted::default());
            }
        }
    }

    /// Whether addresses are formed as routers advertise.
    pub(super) fn is_auto_ipv6(&self) -> bool {
        let plan = self.net.plan();
        plan.is_some_and(|plan| plan.ipv6 == Ipv6Setting::Auto)
    }

    /// Takes what a router advertises.
    pub(super) fn take_advert(&mut self, now: Instant, advert: &RouterAdvert) {
        if let Some(autoconf) = &mut self.net.autoconf {
            autoconf.handle_advert(now, advert);
            self.follow_autoconf(now);
        }
    }

    pub(super) fn check_ipv6_timeout(&mut self, now: Instant) {
        if let Some(autoconf) = &mut self.net.autoconf
            && autoconf.poll_timeout().is_some_and(|at| at <= now)
        {
            autoconf.handle_timeout(now);
            self.follow_autoconf(now);
        }
    }

    fn follow_autoconf(&mut self, now: Instant) {
        let Some(autoconf) = &self.net.autoconf else {
            return;
        };
        let wanted = autoconf.wanted();
        self.give_ipv6(now, wanted);
    }

    fn give_ipv6(&mut self, now: Instant, wanted: Wanted) {
        let applied = self.network.apply_ipv6(now, &wanted);
        self.net.ipv6 = wanted;
        self.tell_ipv6(now);
        if let Err(error) = applied {
            self.refused(now, Topic::Router, &error.to_string());
        }
    }

    /// Tells the services which addresses of IPv6 the machine can use by now, and the operator why
    /// it has none.
    pub(super) fn tell_ipv6(&mut self, now: Instant) {
        let settled = self.network.settled_ipv6(now);
        if let Some(address) = settled.duplicate {
            let sentence = format!(
                "Another machine of this network has IPv6 address {address}: give each a MAC address \
                 of its own."
            );
            self.tell_problem(now, Topic::Router, &sentence);
        } else if let Some(autoconf) = &self.net.autoconf {
            match autoconf.problem() {
                Some(sentence) => self.tell_problem(now, Topic::Router, &sentence),
                None => self.hub.solved(Topic::Router),
            }
        }
        let mut usable = self.net.ipv6.clone();
        usable
            .addresses
            .retain(|wanted| settled.usable.contains(&wanted.address));
        let letters = match usable.config() {
            Some(config) => self.hub.ipv6_up(now, config),
            None => self.hub.ipv6_lost(now),
        };
        self.deliver(letters);
        self.note_whether_up(now);
    }

    /// A lease has set an MTU: IPv6 ends below its smallest and begins again above it.
    pub(super) fn follow_mtu(&mut self, now: Instant) {
        let allows_ipv6 = self.network.allows_ipv6();
        if std::mem::replace(&mut self.net.allows_ipv6, allows_ipv6) == allows_ipv6 {
            return;
        }
        self.start_ipv6(now);
        self.start_netd();
        if !allows_ipv6 {
            let sentence = format!(
                "DHCP sets an MTU below {MTU_MIN}, with which there is no IPv6: raise option 26 if you \
                 need IPv6."
            );
            self.refused(now, Topic::Router, &sentence);
        }
    }
}
