//! Enrolments and renewals.

use connector_proto::enrol;
use connector_proto::message::{
    EnrolAccepted, EnrolRefusal, Fingerprint, RenewAccepted, RenewRefusal,
};
use connector_proto::renew;
use connector_proto::time::Instant;
use edge::store::certificates::{RenewDecision, RenewOrder, Renewed};
use edge::store::enrolment::{Decision, Enrolled, Request};

use super::{Edge, End, Line, wall};
use crate::sha256;

impl Edge {
    pub(super) fn handle_enrolment(&mut self, now: Instant, line: Line, event: enrol::EdgeEvent) {
        match event {
            enrol::EdgeEvent::Lookup { key_id: asked } => {
                let proof = self.store.key_proof(&asked).unwrap();
                let (is_failing, ca) = (self.is_failing, self.ca().to_vec());
                let Some(End::Enrol { machine, key_id }) = self.ends.get_mut(&line) else {
                    return;
                };
                *key_id = asked;
                match proof {
                    _ if is_failing => machine.refuse(EnrolRefusal::TryLater),
                    Some(proof) => machine
                        .key_found(proof.public_key, &proof.proof_key, &ca, wall(now))
                        .unwrap(),
                    None => machine.refuse(EnrolRefusal::KeyUnknown),
                }
            }
            enrol::EdgeEvent::Request { csr, fingerprint } => {
                let decided = self.enrol(now, line, &csr, fingerprint);
                let Some(End::Enrol { machine, .. }) = self.ends.get_mut(&line) else {
                    return;
                };
                match decided {
                    Ok(enrolled) => machine
                        .accept(&EnrolAccepted {
                            certificate: &enrolled.certificate,
                            connector_id: enrolled.id,
                            name: &enrolled.name,
                            group: &enrolled.group,
                            grant_key: [7; 32],
                        })
                        .unwrap(),
                    Err(refusal) => machine.refuse(refusal),
                }
            }
        }
    }

    fn enrol(
        &mut self,
        now: Instant,
        line: Line,
        csr: &[u8],
        fingerprint: Fingerprint,
    ) -> Result<Enrolled, EnrolRefusal> {
        let Some(End::Enrol { key_id, .. }) = self.ends.get(&line) else {
            return Err(EnrolRefusal::TryLater);
        };
        if self.is_failing {
            return Err(EnrolRefusal::TryLater);
        }
        let request = Request {
            key_id: *key_id,
            spki: sha256(csr),
            fingerprint,
            issuer: sha256(self.ca()),
        };
        let mut until = wall(now);
        let decision = self.store.enrol(&request, wall(now), |_, not_after| {
            until = not_after;
            Ok(Vec::new())
        });
        match decision.unwrap() {
            Decision::Enrolled(enrolled) => {
                self.tally.enrolments += u64::from(!enrolled.repeated);
                let certificate = self.issue(request.spki, now, until);
                Ok(Enrolled {
                    certificate,
                    ..enrolled
                })
            }
            Decision::Refused(refusal) => Err(refusal),
        }
    }

    pub(super) fn handle_renewal(&mut self, now: Instant, line: Line, event: &renew::EdgeEvent) {
        let renew::EdgeEvent::Request {
            csr,
            fingerprint,
            ratchet,
        } = event;
        let Some(End::Renew { spki, .. }) = self.ends.get(&line) else {
            return;
        };
        let order = RenewOrder {
            spki: *spki,
            request_spki: sha256(csr),
            fingerprint: *fingerprint,
            ratchet: *ratchet,
            address: "192.0.2.1:50000",
            issuer: sha256(self.ca()),
        };
        let decided = self.renew(now, &order);
        let Some(End::Renew { machine, .. }) = self.ends.get_mut(&line) else {
            return;
        };
        match decided {
            Ok(renewed) => machine
                .accept(&RenewAccepted {
                    certificate: &renewed.certificate,
                    generation: renewed.generation,
                })
                .unwrap(),
            Err(refusal) => machine.refuse(refusal),
        }
    }

    fn renew(&mut self, now: Instant, order: &RenewOrder<'_>) -> Result<Renewed, RenewRefusal> {
        if self.is_failing {
            return Err(RenewRefusal::TryLater);
        }
        let mut until = wall(now);
        let decision = self.store.renew(order, wall(now), |_, not_after| {
            until = not_after;
            Ok(Vec::new())
        });
        match decision.unwrap() {
            RenewDecision::Renewed(renewed) => {
                self.tally.renewals += u64::from(!renewed.repeated);
                let certificate = self.issue(order.request_spki, now, until);
                Ok(Renewed {
                    certificate,
                    ..renewed
                })
            }
            RenewDecision::Refused(refusal) => Err(refusal),
        }
    }
}
