//! A renewal connection: drives `connector_proto::renew::Edge` and decides with the store.
//!
//! TLS has verified the certificate but for its dates, which the store's decision judges.

use std::iter::from_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::message::{Fingerprint, RatchetValue, RenewAccepted, RenewRefusal};
use connector_proto::renew::{Edge, EdgeEvent};
use log::{info, warn};

use crate::authority::RequestKey;
use crate::server::Shared;
use crate::store::certificates::{RenewDecision, RenewOrder, Renewed, refusal_name};
use crate::tls::{self, Tls};
use crate::{Error, clock};

/// Serves one renewal from its request to its answer.
pub(crate) async fn serve(shared: &Arc<Shared>, mut tls: Tls, peer: SocketAddr) {
    let Some(spki) = tls::verified_spki(tls.get_ref().1.peer_certificates()) else {
        return warn!("{peer}: a renewal without a certificate");
    };
    let mut renewing = Renewing {
        shared,
        peer,
        spki,
        machine: Edge::new(clock::now()),
    };
    if let Err(problem) = renewing.run(&mut tls).await {
        info!("{peer}: renewal ended: {problem}");
    }
    let last: Vec<u8> = from_fn(|| renewing.machine.poll_transmit())
        .flatten()
        .collect();
    tls::farewell(tls, &last).await;
}

struct Renewing<'a> {
    shared: &'a Arc<Shared>,
    peer: SocketAddr,
    /// Of the certificate that is to be renewed.
    spki: [u8; 32],
    machine: Edge,
}

impl Renewing<'_> {
    /// Until everything is said; the answer itself is left in the machine.
    async fn run(&mut self, tls: &mut Tls) -> Result<(), String> {
        let mut buffer = [0; 4096];
        while let Some(at) = self.machine.poll_timeout() {
            let Some(len) = tls::heard(tls, at, &mut buffer).await? else {
                let result = self.machine.handle_timeout(clock::now());
                return result.map_err(|error| error.to_string());
            };
            let taken = self.machine.handle_input(&buffer[..len]);
            taken.map_err(|error| error.to_string())?;
            if let Some(event) = self.machine.poll_event() {
                self.answer(event).await;
            }
        }
        Ok(())
    }

    async fn answer(&mut self, event: EdgeEvent) {
        let EdgeEvent::Request {
            csr,
            fingerprint,
            ratchet,
        } = event;
        if let Err(error) = self.decide(&csr, fingerprint, ratchet).await {
            warn!("{}: cannot decide on a renewal: {error}", self.peer);
            self.machine.refuse(RenewRefusal::TryLater);
        }
    }

    async fn decide(
        &mut self,
        csr: &[u8],
        fingerprint: Fingerprint,
        ratchet: RatchetValue,
    ) -> Result<(), Error> {
        let Ok(key) = RequestKey::of_request(csr) else {
            info!("{}: renewal with an invalid signing request", self.peer);
            self.machine.refuse(RenewRefusal::RequestInvalid);
            return Ok(());
        };
        let roots = self.shared.authority.roots();
        let (spki, address) = (self.spki, self.peer.to_string());
        let decision = self.shared.store.run(move |store| {
            let now = clock::unix_now();
            let order = RenewOrder {
                spki,
                request_spki: key.spki,
                fingerprint,
                ratchet,
                address: &address,
                issuer: roots.issuer(),
            };
            store.renew(&order, now, |id, not_after| {
                roots.issue(&key, id, now, not_after)
            })
        });
        match decision.await? {
            RenewDecision::Renewed(renewed) => self.accept(&renewed),
            RenewDecision::Refused(reason) => {
                warn!("{}: renewal refused: {}", self.peer, refusal_name(reason));
                self.machine.refuse(reason);
                Ok(())
            }
        }
    }

    fn accept(&mut self, renewed: &Renewed) -> Result<(), Error> {
        let Renewed {
            name,
            generation,
            repeated,
            ..
        } = renewed;
        let again = if *repeated { " again" } else { "" };
        let peer = self.peer;
        info!("{peer}: {name} has its certificate number {generation}{again}");
        let accepted = RenewAccepted {
            certificate: &renewed.certificate,
            generation: *generation,
        };
        self.machine
            .accept(&accepted)
            .map_err(Error::crypto("the answer"))
    }
}
