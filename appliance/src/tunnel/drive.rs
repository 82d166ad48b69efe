//! Carries bytes between TLS and the machine that a connection is for.

use connector_proto::control::{Channel, ConnectorSide};
use connector_proto::edge_time::Asking;
use connector_proto::enrol;
use connector_proto::error::Error as ProtocolError;
use connector_proto::renew;
use connector_proto::time::Instant;

use super::{Event, TunnelError};
use crate::clock;
use crate::tls::{TlsError, TlsStream};

pub(super) fn enrolment(
    now: Instant,
    stream: &mut TlsStream,
    machine: &mut enrol::Connector,
    events: &mut Vec<Event>,
) -> Result<(), TunnelError> {
    send(stream, || machine.poll_transmit())?;
    let received = receive(stream, |bytes| {
        let result = machine.handle_input(bytes);
        // One read may hold the proof and the reply; each event is taken before the next frame.
        while let Some(event) = machine.poll_event() {
            events.push(Event::Enrol(event));
        }
        result
    });
    send(stream, || machine.poll_transmit())?;
    received?;
    machine.handle_timeout(now).map_err(TunnelError::Protocol)
}

pub(super) fn renewal(
    now: Instant,
    stream: &mut TlsStream,
    machine: &mut renew::Connector,
    events: &mut Vec<Event>,
) -> Result<(), TunnelError> {
    send(stream, || machine.poll_transmit())?;
    let received = receive(stream, |bytes| {
        let result = machine.handle_input(bytes);
        events.extend(machine.poll_event().map(Event::Renew));
        result
    });
    send(stream, || machine.poll_transmit())?;
    received?;
    machine.handle_timeout(now).map_err(TunnelError::Protocol)
}

pub(super) fn question(
    now: Instant,
    stream: &mut TlsStream,
    asking: &mut Asking,
    events: &mut Vec<Event>,
) -> Result<(), TunnelError> {
    send(stream, || asking.poll_transmit())?;
    receive(stream, |bytes| {
        let answer = asking.handle_input(clock::now(), bytes)?;
        events.extend(answer.map(Event::Time));
        Ok(())
    })?;
    if now >= asking.deadline() {
        let awaited = "TimeReply";
        return Err(TunnelError::Protocol(ProtocolError::TimedOut { awaited }));
    }
    Ok(())
}

pub(super) fn control(
    now: Instant,
    stream: &mut TlsStream,
    channel: &mut Channel<ConnectorSide>,
    events: &mut Vec<Event>,
) -> Result<(), TunnelError> {
    send(stream, || channel.poll_transmit())?;
    let received = receive(stream, |bytes| {
        let result = channel.handle_input(now, bytes);
        while let Some(event) = channel.poll_event() {
            events.push(Event::Control(event));
        }
        result
    });
    let result = received.and_then(|()| channel.handle_timeout(now).map_err(TunnelError::Protocol));
    send(stream, || channel.poll_transmit())?;
    result
}

/// Sends what a machine wants sent. What TLS has no room for breaks the connection: control
/// messages are small, and an edge that leaves 64 KiB of them unread is not there any more.
pub(super) fn send(
    stream: &mut TlsStream,
    mut next: impl FnMut() -> Option<Vec<u8>>,
) -> Result<(), TunnelError> {
    while let Some(bytes) = next() {
        let taken = stream
            .write(&bytes)
            .map_err(|error| TunnelError::Tls(TlsError::Io(error)))?;
        if taken < bytes.len() {
            let max = connector_proto::limits::OUTBOX_MAX;
            return Err(TunnelError::Protocol(ProtocolError::OutboxFull { max }));
        }
    }
    stream.flush().map_err(TunnelError::Tls)
}

/// Hands over what the edge sent, until the socket has nothing more.
fn receive(
    stream: &mut TlsStream,
    mut take: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
) -> Result<(), TunnelError> {
    let mut buffer = [0; 4096];
    loop {
        let may_have_more = stream.turn().map_err(TunnelError::Tls)?;
        let mut has_taken = false;
        loop {
            let len = stream
                .read(&mut buffer)
                .map_err(|error| TunnelError::Tls(TlsError::Io(error)))?;
            if len == 0 {
                break;
            }
            has_taken = true;
            take(&buffer[..len]).map_err(TunnelError::Protocol)?;
        }
        if !(may_have_more && has_taken) {
            break;
        }
    }
    if stream.end().is_some() {
        Err(TunnelError::Closed)
    } else {
        Ok(())
    }
}
