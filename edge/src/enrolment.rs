//! An enrolment connection: drives `connector_proto::enrol::Edge` and decides with the store.

use std::iter::from_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::enrol::{Edge, EdgeEvent};
use connector_proto::message::{EnrolAccepted, EnrolRefusal, Fingerprint};
use log::{info, warn};
use tokio::io::AsyncWriteExt as _;

use crate::authority::{RequestKey, Roots};
use crate::server::Shared;
use crate::store::enrolment::{Decision, Enrolled, Request, refusal_name};
use crate::text::hex;
use crate::tls::{self, Tls};
use crate::{Error, clock};

/// Serves one enrolment from its greeting to its answer.
pub(crate) async fn serve(shared: &Arc<Shared>, mut tls: Tls, peer: SocketAddr) {
    let exporter = match tls::exporter(&tls) {
        Ok(exporter) => exporter,
        Err(error) => return warn!("{peer}: no TLS exporter: {error}"),
    };
    let mut enrolling = Enrolling {
        shared,
        peer,
        roots: shared.authority.roots(),
        machine: Edge::new(clock::now(), exporter),
        key_id: None,
    };
    if let Err(problem) = enrolling.run(&mut tls).await {
        info!("{peer}: enrolment ended: {problem}");
    }
    let last: Vec<u8> = from_fn(|| enrolling.machine.poll_transmit())
        .flatten()
        .collect();
    tls::farewell(tls, &last).await;
}

struct Enrolling<'a> {
    shared: &'a Arc<Shared>,
    peer: SocketAddr,
    /// The CA that the edge proves is the one that issues, also while another takes its place.
    roots: Arc<Roots>,
    machine: Edge,
    /// The key the connector named; proved when the machine reports its request.
    key_id: Option<[u8; 16]>,
}

impl Enrolling<'_> {
    /// Until everything is said; the answer itself is left in the machine.
    async fn run(&mut self, tls: &mut Tls) -> Result<(), String> {
        let mut buffer = [0; 4096];
        while let Some(at) = self.machine.poll_timeout() {
            while let Some(bytes) = self.machine.poll_transmit() {
                tls.write_all(&bytes)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            tls.flush().await.map_err(|error| error.to_string())?;
            let Some(len) = tls::heard(tls, at, &mut buffer).await? else {
                let result = self.machine.handle_timeout(clock::now());
                return result.map_err(|error| error.to_string());
            };
            self.machine
                .handle_input(&buffer[..len])
                .map_err(|error| error.to_string())?;
            while let Some(event) = self.machine.poll_event() {
                self.answer(event).await;
            }
        }
        Ok(())
    }

    async fn answer(&mut self, event: EdgeEvent) {
        let answered = match event {
            EdgeEvent::Lookup { key_id } => self.look_up(key_id).await,
            EdgeEvent::Request { csr, fingerprint } => self.decide(&csr, fingerprint).await,
        };
        if let Err(error) = answered {
            warn!("{}: cannot decide on an enrolment: {error}", self.peer);
            self.machine.refuse(EnrolRefusal::TryLater);
        }
    }

    /// The edge proves itself with any key it knows. Whether the key still enrols is told only to
    /// who proves to hold it.
    async fn look_up(&mut self, key_id: [u8; 16]) -> Result<(), Error> {
        let Some(proof) = self
            .shared
            .store
            .run(move |store| store.key_proof(&key_id))
            .await?
        else {
            info!(
                "{}: enrolment with an unknown key {}",
                self.peer,
                hex(&key_id)
            );
            self.machine.refuse(EnrolRefusal::KeyUnknown);
            return Ok(());
        };
        self.key_id = Some(key_id);
        let (ca, now) = (self.roots.ca(), clock::unix_now());
        self.machine
            .key_found(proof.public_key, &proof.proof_key, ca, now)
            .map_err(Error::crypto("the edge's proof"))
    }

    async fn decide(&mut self, csr: &[u8], fingerprint: Fingerprint) -> Result<(), Error> {
        let (Some(key_id), Ok(key)) = (self.key_id, RequestKey::of_request(csr)) else {
            info!("{}: enrolment with an invalid signing request", self.peer);
            self.machine.refuse(EnrolRefusal::RequestInvalid);
            return Ok(());
        };
        let request = Request {
            key_id,
            spki: key.spki,
            fingerprint,
            issuer: self.roots.issuer(),
        };
        let roots = Arc::clone(&self.roots);
        let decision = self.shared.store.run(move |store| {
            let now = clock::unix_now();
            let issue = |id: &_, not_after| roots.issue(&key, id, now, not_after);
            store.enrol(&request, now, issue)
        });
        match decision.await? {
            Decision::Enrolled(enrolled) => self.accept(&enrolled),
            Decision::Refused(refusal) => {
                let (key, reason) = (hex(&key_id), refusal_name(refusal));
                warn!("{}: enrolment with key {key} refused: {reason}", self.peer);
                self.machine.refuse(refusal);
                Ok(())
            }
        }
    }

    fn accept(&mut self, enrolled: &Enrolled) -> Result<(), Error> {
        let Enrolled {
            name,
            group,
            repeated,
            ..
        } = enrolled;
        let again = if *repeated { " again" } else { "" };
        info!("{}: enrolled {name} into group {group}{again}", self.peer);
        let accepted = EnrolAccepted {
            certificate: &enrolled.certificate,
            connector_id: enrolled.id,
            name,
            group,
            grant_key: self.shared.authority.grant_public_key(),
        };
        self.machine
            .accept(&accepted)
            .map_err(Error::crypto("the answer"))
    }
}
