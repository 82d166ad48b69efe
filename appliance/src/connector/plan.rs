//! Whom the next connection goes to, by which way, and what it says there.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use connector_proto::life::{self, Failure};
use connector_proto::local::{EdgeText, text};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::{Connector, memory};
use crate::edge_time::Dates;
use crate::pool::Way;
use crate::proxy::Proxy;
use crate::reach::Route;
use crate::session::Context;
use crate::tls::{self, Pinned, TlsError};
use crate::tunnel::{Plan, Purpose, TunnelError};
use crate::{clock, edge_name, identity};

impl Connector {
    /// The edge as its name was given.
    pub(super) fn edge_text(&self) -> EdgeText {
        self.life.edge().map(text).unwrap_or_default()
    }

    /// Whether the edge may be asked for the time.
    pub(super) fn may_ask_time(&self) -> bool {
        self.pinned.is_some() && self.network.is_some() && self.life.edge().is_some()
    }

    /// How to open what the life machine wants opened.
    ///
    /// # Errors
    /// What kind of failure it is that this cannot be, and a sentence about it.
    pub(super) fn plan_for(&mut self, purpose: life::Purpose) -> Result<Plan, (Failure, String)> {
        let (config, purpose) = match purpose {
            life::Purpose::Enrol { key } => {
                let config = tls::enrolment().map_err(|error| transport(&error))?;
                let csr = self.signing_request()?;
                (config, Purpose::Enrol { key, csr })
            }
            life::Purpose::Renew => {
                let pinned = Pinned::in_use(self.life.state());
                let pinned = self.usable(pinned)?;
                let csr = self.signing_request()?;
                (pinned.renew, Purpose::Renew { csr })
            }
            life::Purpose::Control { next } => {
                let state = self.life.state();
                let pinned = if next {
                    Pinned::next(state)
                } else {
                    Pinned::in_use(state)
                };
                let pinned = self.usable(pinned)?;
                let config = pinned.control.clone();
                (self.pinned, self.shows_next) = (Some(pinned), next);
                let version = self.version.clone();
                let seed = ping_seed(self.connection);
                (config, Purpose::Control { version, seed })
            }
        };
        let plan = self.plan(config, purpose);
        plan.map_err(|error| transport(&error))
    }

    fn usable(
        &self,
        pinned: Result<Option<Pinned>, rustls::Error>,
    ) -> Result<Pinned, (Failure, String)> {
        let what = "the stored certificate and private key are not usable";
        match pinned {
            Ok(Some(pinned)) => Ok(pinned),
            Ok(None) => Err((Failure::Unusable, format!("{what}: there are none"))),
            Err(error) => Err((Failure::Unusable, format!("{what}: {error}"))),
        }
    }

    /// For the key pair that the life machine has had stored for this.
    fn signing_request(&self) -> Result<Vec<u8>, (Failure, String)> {
        let key = self.life.requested_key().unwrap_or_default();
        identity::signing_request(key).map_err(|error| {
            let text = format!("the stored private key cannot be used: {error}");
            (Failure::Unusable, text)
        })
    }

    /// A question for the time, and where it is noted whether the certificate's dates held.
    pub(super) fn question_plan(&self) -> Result<(Plan, Arc<Dates>), TunnelError> {
        let pinned = self.pinned.as_ref().ok_or(TunnelError::Closed)?;
        let (config, dates) = pinned
            .time()
            .map_err(|error| TunnelError::Tls(TlsError::Tls(error)))?;
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce)
            .map_err(|error| unusable("no random bytes can be had", &error))?;
        Ok((self.plan(config, Purpose::Time { nonce })?, dates))
    }

    fn plan(&self, config: Arc<ClientConfig>, purpose: Purpose) -> Result<Plan, TunnelError> {
        let text = self.life.edge().unwrap_or_default();
        let (host, port) = edge_name::parse(text)
            .map_err(|error| unusable("the edge's name is not usable", &error))?;
        Ok(Plan {
            host,
            port,
            resolvers: self.resolvers(),
            remembered: self.life.edge_addresses().to_vec(),
            proxy: self.proxy()?,
            config,
            purpose,
            fingerprint: self.fingerprint,
            ratchet: self.life.state().ratchet,
        })
    }

    /// What a session needs to know of the machine and the edge.
    pub(super) fn context(&self) -> Option<Context> {
        let tunnel = self.tunnel.as_ref()?;
        let network = self.network.as_ref()?;
        Some(Context {
            resolvers: network.resolvers.to_vec(),
            own: network.addresses().collect(),
            gateways: network.gateways().collect(),
            edges: tunnel.edges(),
        })
    }

    /// The way that data channels go: the one that the control channel went. A proxy resolves the
    /// edge's name anew.
    pub(super) fn way(&self) -> Option<Way> {
        let tunnel = self.tunnel.as_ref()?;
        let plan = tunnel.plan();
        Some(Way {
            route: Route {
                host: plan.host.clone(),
                port: plan.port,
                proxy: plan.proxy.clone(),
            },
            address: tunnel.address()?,
            name: ServerName::try_from(plan.host.clone()).ok()?,
            config: self.pinned.as_ref()?.data.clone(),
            connection: self.connection,
        })
    }

    fn resolvers(&self) -> Vec<IpAddr> {
        let network = self.network.as_ref();
        network.map_or_else(Vec::new, |network| network.resolvers.to_vec())
    }

    fn proxy(&self) -> Result<Option<Proxy>, TunnelError> {
        let text = self.network.as_ref().and_then(|it| it.proxy.as_deref());
        text.map(|text| {
            Proxy::parse(text, memory::credentials(self.life.state()))
                .map_err(|error| unusable("the proxy setting is not usable", &error))
        })
        .transpose()
    }
}

/// What this machine lacks, as the reason why there is no connection.
fn unusable(what: &str, error: &dyn Display) -> TunnelError {
    TunnelError::Machine(format!("{what}: {error}"))
}

/// A failure that may be none the next time.
fn transport(error: &dyn Display) -> (Failure, String) {
    (Failure::Transport, error.to_string())
}

/// A seed for the pings of one control channel.
fn ping_seed(connection: u64) -> u64 {
    clock::now().as_micros().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ connection
}
