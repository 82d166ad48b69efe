//! The machine's processes beside PID 1, as one table.

/// A service: a process PID 1 starts and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The terminals.
    Console,
    /// The DHCP client.
    Netd,
    /// The NTP client.
    Timed,
    /// The process that holds the tunnel.
    Connector,
}

/// What must be true before a service is started. One that is lost later only gates restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is a NIC.
    Nic,
    /// The machine has an address.
    NetUp,
    /// The clock is right, or nobody but the service edge can say what the time is.
    ClockSettled,
    /// The state partition was found, or it is clear that there is none.
    StateSettled,
}

impl Service {
    /// All services, in the order in which they are started.
    pub const ALL: [Self; 4] = [Self::Console, Self::Netd, Self::Timed, Self::Connector];

    /// Its name in facts and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Netd => "netd",
            Self::Timed => "timed",
            Self::Connector => "connector",
        }
    }

    /// Its file in the image.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Console => "/bin/console",
            Self::Netd => "/bin/netd",
            Self::Timed => "/bin/timed",
            Self::Connector => "/bin/connector",
        }
    }

    /// The user and group it runs as; each has its own, and none is root.
    #[must_use]
    pub const fn uid(self) -> u32 {
        match self {
            Self::Netd => 101,
            Self::Timed => 102,
            Self::Connector => 103,
            Self::Console => 104,
        }
    }

    /// What must be true before it is started.
    #[must_use]
    pub const fn needs(self) -> &'static [Condition] {
        match self {
            Self::Console => &[],
            Self::Netd => &[Condition::Nic],
            Self::Timed => &[Condition::NetUp],
            Self::Connector => &[Condition::ClockSettled, Condition::StateSettled],
        }
    }

    /// Its place in an array over [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
