//! Asks for IPv6 routers and hears their advertisements.
//!
//! Pure. At first three solicitations 4 s apart (RFC 4861 section 6.3.7), then at a pace that halves
//! down to one an hour (RFC 7559). A router that was heard ends it, until three quarters of its
//! lifetime have passed without another word of it.

use std::net::Ipv6Addr;
use std::time::Duration;

use connector_proto::local::RouterAdvert;
use connector_proto::time::Instant;

use super::{icmpv6, router_advert};

/// Solicitations at the first pace.
const FAST: u32 = 3;
/// Between them.
const FAST_PACE: Duration = Duration::from_secs(4);
/// Longest time between two solicitations (RFC 7559's MRT).
const SLOW_PACE: Duration = Duration::from_secs(3600);
/// Advertisements heard in one go; one more is heard each second. A flood ends here.
const HEARD_MAX: u32 = 8;

/// The asking for routers on one NIC.
#[derive(Debug)]
pub struct Solicitor {
    mac: [u8; 6],
    link_local: Ipv6Addr,
    /// Solicitations since the search began; `None` while there is a router.
    asked: Option<u32>,
    asked_at: Option<Instant>,
    next_at: Instant,
    /// How many advertisements may be heard, as of `counted_at`.
    may_hear: u32,
    counted_at: Instant,
}

impl Solicitor {
    /// Asks at once, from the NIC with this MAC and link-local address.
    #[must_use]
    pub const fn new(mac: [u8; 6], link_local: Ipv6Addr, now: Instant) -> Self {
        Self {
            mac,
            link_local,
            asked: Some(0),
            asked_at: None,
            next_at: now,
            may_hear: HEARD_MAX,
            counted_at: now,
        }
    }

    /// The link came up, perhaps in another network: asks again.
    pub fn handle_carrier_up(&mut self, now: Instant) {
        self.search(now);
    }

    /// Takes a frame that the packet socket's filter passed, and returns the advertisement in it.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) -> Option<RouterAdvert> {
        let advert = router_advert::parse(frame)?;
        if !self.may_hear(now) {
            return None;
        }
        if advert.lifetime_s > 0 {
            self.asked = None;
            self.next_at = now + Duration::from_secs(u64::from(advert.lifetime_s)) * 3 / 4;
        } else if self.asked.is_none() {
            // It leaves, or somebody says so in its name: whoever is there may speak up.
            self.search(now);
        }
        Some(advert)
    }

    /// The solicitation that is due, if one is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Vec<u8>> {
        if now < self.next_at {
            return None;
        }
        let asked = self.asked.unwrap_or(0);
        let doublings = asked
            .saturating_add(2)
            .saturating_sub(FAST)
            .min(MAX_DOUBLINGS);
        self.next_at = now + (FAST_PACE * 2_u32.pow(doublings)).min(SLOW_PACE);
        self.asked = Some(asked.saturating_add(1));
        self.asked_at = Some(now);
        // The kernel may still be checking that nobody else has the link-local address, which must
        // not be used before (RFC 4862 section 5.4).
        let source = if asked == 0 {
            Ipv6Addr::UNSPECIFIED
        } else {
            self.link_local
        };
        Some(solicitation(self.mac, source))
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub const fn poll_timeout(&self) -> Instant {
        self.next_at
    }

    fn search(&mut self, now: Instant) {
        self.asked = Some(0);
        let not_before = self.asked_at.map(|at| at + FAST_PACE);
        self.next_at = not_before.map_or(now, |at| at.max(now));
    }

    fn may_hear(&mut self, now: Instant) -> bool {
        let seconds = now.since(self.counted_at).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(HEARD_MAX);
            self.may_hear = self.may_hear.saturating_add(more).min(HEARD_MAX);
            self.counted_at = now;
        }
        let is_heard = self.may_hear > 0;
        self.may_hear = self.may_hear.saturating_sub(1);
        is_heard
    }
}

/// A router solicitation (RFC 4861 section 4.1). From a real address it names the MAC address, so
/// that the router can answer at once.
fn solicitation(mac: [u8; 6], source: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    if !source.is_unspecified() {
        body.extend([SOURCE_MAC, 1]);
        body.extend(mac);
    }
    icmpv6::emit((mac, ALL_ROUTERS_MAC), source, ALL_ROUTERS, body)
}

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_ROUTERS_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 2];
const ROUTER_SOLICITATION: u8 = 133;
/// The option "source link-layer address".
const SOURCE_MAC: u8 = 1;
/// 4 s doubled so often are more than an hour.
const MAX_DOUBLINGS: u32 = 10;

#[cfg(test)]
mod tests {
    use connector_proto::local::Servers;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn nobody_who_answers_is_asked_three_times_quickly_and_then_ever_less() {
        let mut world = World::new();
        let asked = world.run(86_400);
        assert_eq!(asked[..6], [0, 4, 8, 16, 32, 64]);
        assert_eq!(asked.last().unwrap() - asked[asked.len() - 2], 3600);
        assert!(asked.len() < 40, "{}", asked.len());
    }

    #[test]
    fn a_router_that_keeps_advertising_is_asked_no_more() {
        let mut world = World::new();
        world.run(0);
        for _ in 0..100 {
            assert!(world.hear(1800).is_some());
            assert_eq!(world.run(600), []);
        }
    }

    #[test]
    fn a_router_that_falls_silent_is_asked_again_before_its_lifetime_ends() {
        let mut world = World::new();
        world.run(0);
        world.hear(1800);
        assert_eq!(world.run(1358), [1350, 1354, 1358]);
    }

    #[test]
    fn a_router_that_leaves_has_the_others_asked_at_once_but_not_without_end() {
        let mut world = World::new();
        world.run(0);
        world.hear(1800);
        world.run(10);
        for _ in 0..3 {
            world.hear(0);
            world.hear(1800);
        }
        world.hear(0);
        assert_eq!(world.run(4), [10, 14]);
    }

    #[test]
    fn a_link_that_comes_back_is_asked_on_at_once() {
        let mut world = World::new();
        world.run(0);
        world.hear(1800);
        world.run(100);
        world.solicitor.handle_carrier_up(world.now);
        assert_eq!(world.run(4), [100, 104]);
    }

    #[test]
    fn a_flood_of_adverts_is_heard_at_one_a_second() {
        let mut world = World::new();
        let mut heard = 0;
        for round in 0..100_000 {
            heard += usize::from(world.hear(1800).is_some());
            if round % 10_000 == 0 {
                world.run(1);
            }
        }
        assert!((9..=18).contains(&heard), "{heard}");
    }

    #[test]
    fn the_first_solicitation_has_no_address_and_the_next_ones_tell_the_mac() {
        let mut solicitor = World::new().solicitor;
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let first = solicitor.handle_timeout(at(0)).unwrap();
        let first = icmpv6::parse(&first).unwrap();
        assert_eq!(first.source, Ipv6Addr::UNSPECIFIED);
        assert_eq!(first.body.len(), 8);
        let second = solicitor.handle_timeout(at(4)).unwrap();
        assert_eq!(second[..6], ALL_ROUTERS_MAC);
        let second = icmpv6::parse(&second).unwrap();
        assert_eq!(second.source, "fe80::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(second.hop_limit, 255);
        assert_eq!(second.body[8..], [1, 1, 2, 0, 0, 0, 0, 1]);
    }

    struct World {
        solicitor: Solicitor,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::from_micros(0);
            Self {
                solicitor: Solicitor::new(MAC, "fe80::1".parse().unwrap(), now),
                now,
            }
        }

        /// Runs for so many seconds; when routers were asked, in seconds.
        fn run(&mut self, seconds: u64) -> Vec<u64> {
            let end = self.now + Duration::from_secs(seconds);
            let mut asked = Vec::new();
            while self.solicitor.poll_timeout() <= end {
                self.now = self.now.max(self.solicitor.poll_timeout());
                if self.solicitor.handle_timeout(self.now).is_some() {
                    asked.push(self.now.as_micros() / 1_000_000);
                }
            }
            self.now = end;
            asked
        }

        fn hear(&mut self, lifetime_s: u16) -> Option<RouterAdvert> {
            let advert = RouterAdvert {
                router: "fe80::99".parse().unwrap(),
                lifetime_s,
                prefixes: Default::default(),
                resolvers: Servers::new(),
                resolvers_s: 0,
                mtu: None,
                is_managed: false,
            };
            let frame = router_advert::emit(&advert, [2; 6]);
            self.solicitor.handle_frame(self.now, &frame)
        }
    }
}
