//! Records that are not data: alerts, tickets and KeyUpdates.

use crate::channel::{ALERT_CONTINUES, ALERT_REFUSED};
use crate::engine::{Broken, Progress};
use crate::record::Content;

/// What a record that is not data means for the direction it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Control {
    /// The direction's end: it is over, or goes on elsewhere.
    End(Progress),
    /// The records after this one are under the peer's next keys. Whether it asks for ours to change, too.
    KeyUpdate(bool),
    /// Nothing to be done.
    Nothing,
}

/// Reads a record's content.
///
/// # Errors
/// Alerts that end the session, and what has no place after the handshake.
pub(in crate::engine) fn read(content: Content, bytes: &[u8]) -> Result<Control, Broken> {
    match content {
        Content::Alert => alert(bytes),
        Content::Handshake => handshake(bytes),
        Content::Data => Ok(Control::Nothing),
    }
}

/// RFC 8446 section 6: level and description. The level says nothing any more; only the description does.
fn alert(bytes: &[u8]) -> Result<Control, Broken> {
    let &[_, description] = bytes else {
        return Err(Broken::BadRecord("an alert is not two bytes long"));
    };
    match description {
        CLOSE_NOTIFY => Ok(Control::End(Progress::Ended)),
        ALERT_CONTINUES => Ok(Control::End(Progress::Continues)),
        ALERT_REFUSED => Err(Broken::Refused),
        USER_CANCELED => Ok(Control::Nothing),
        other => Err(Broken::Alert(other)),
    }
}

/// RFC 8446 section 4.6: one message after the other. None is continued in another record, because none
/// that has a place here is so large.
fn handshake(mut bytes: &[u8]) -> Result<Control, Broken> {
    if bytes.is_empty() {
        return Err(Broken::BadRecord("a handshake record is empty"));
    }
    while let Some((&[kind, a, b, c], rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes([0, a, b, c]);
        let split = usize::try_from(length).ok();
        let split = split.and_then(|length| rest.split_at_checked(length));
        let (body, rest) = split.ok_or(INCOMPLETE)?;
        match (kind, body, rest) {
            (NEW_SESSION_TICKET, _, _) => bytes = rest,
            (KEY_UPDATE, [0], []) => return Ok(Control::KeyUpdate(false)),
            (KEY_UPDATE, [1], []) => return Ok(Control::KeyUpdate(true)),
            (KEY_UPDATE, ..) => {
                return Err(Broken::BadRecord("a KeyUpdate is malformed"));
            }
            _ => {
                return Err(Broken::BadRecord(
                    "a handshake message came after the handshake",
                ));
            }
        }
    }
    match bytes {
        [] => Ok(Control::Nothing),
        _ => Err(INCOMPLETE),
    }
}

/// Reads arbitrary bytes as each kind of record; what reads as an end or a KeyUpdate is nothing else.
///
/// # Panics
/// If something is taken for a control record that is none.
pub fn fuzz_control(data: &[u8]) {
    match read(Content::Alert, data) {
        Ok(Control::End(end)) => {
            let expected = [ALERT_CONTINUES, CLOSE_NOTIFY][usize::from(end == Progress::Ended)];
            assert_eq!(data.get(1..), Some(&[expected][..]));
        }
        Ok(Control::Nothing) => assert_eq!(data.get(1..), Some(&[USER_CANCELED][..])),
        Ok(Control::KeyUpdate(_)) => panic!("an alert is no KeyUpdate"),
        Err(Broken::Alert(description)) => assert_eq!(data.get(1..), Some(&[description][..])),
        Err(_) => assert!(data.len() != 2 || data[1] == ALERT_REFUSED),
    }
    match read(Content::Handshake, data) {
        Ok(Control::End(_)) => panic!("a handshake message is no end"),
        Ok(Control::KeyUpdate(is_requested)) => {
            assert!(data.ends_with(&[KEY_UPDATE, 0, 0, 1, u8::from(is_requested)]));
        }
        Ok(Control::Nothing) => assert!(data.len() >= 4 && data[0] == NEW_SESSION_TICKET),
        Err(_) => {}
    }
    if matches!(read(Content::Handshake, data), Ok(Control::Nothing)) {
        let followed = [data, &key_update(true)].concat();
        let read = read(Content::Handshake, &followed);
        assert!(matches!(read, Ok(Control::KeyUpdate(true))));
    }
}

/// RFC 8446 section 4.6.3.
pub(in crate::engine) fn key_update(is_requested: bool) -> [u8; 5] {
    [KEY_UPDATE, 0, 0, 1, u8::from(is_requested)]
}

/// The alert that ends a direction this way, at level warning.
pub(in crate::engine) fn end_alert(end: Progress) -> [u8; 2] {
    match end {
        Progress::Continues => [1, ALERT_CONTINUES],
        Progress::Ended | Progress::Waiting | Progress::Spent => [1, CLOSE_NOTIFY],
    }
}

/// Records without data in a row. An honest peer sends two tickets, and a KeyUpdate at times; each costs
/// us as much as data does, and a KeyUpdate a key schedule, but no byte is carried.
pub(in crate::engine) const IDLE_RECORDS_MAX: u8 = 32;

const INCOMPLETE: Broken = Broken::BadRecord("a handshake message is not in one record");

/// Alert descriptions of RFC 8446 section 6.1. The second one is always followed by the first.
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;

/// Message types of RFC 8446 section 4.
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_and_refusals_are_told_apart_from_other_alerts() {
        let alert = |description| format!("{:?}", read(Content::Alert, &[2, description]));
        assert_eq!(alert(0), "Ok(End(Ended))");
        assert_eq!(alert(224), "Ok(End(Continues))");
        assert_eq!(alert(90), "Ok(Nothing)");
        assert_eq!(alert(49), "Err(Refused)");
        assert_eq!(alert(80), "Err(Alert(80))");
    }

    #[test]
    fn a_key_update_is_the_last_message_of_its_record() {
        let ticket = [4, 0, 0, 2, 9, 9];
        let read = |parts: &[&[u8]]| read(Content::Handshake, &parts.concat());
        assert!(matches!(read(&[&ticket]), Ok(Control::Nothing)));
        assert!(matches!(read(&[&ticket, &ticket]), Ok(Control::Nothing)));
        assert!(matches!(
            read(&[&ticket, &key_update(true)]),
            Ok(Control::KeyUpdate(true))
        ));
        assert!(read(&[&key_update(true), &ticket]).is_err());
        assert!(read(&[&[24, 0, 0, 1, 2]]).is_err());
    }

    #[test]
    fn parts_of_messages_and_other_messages_are_refused() {
        for bytes in [
            &[][..],
            &[4],
            &[4, 0, 0, 2, 9],
            &[24, 0, 0, 1],
            &[1, 0, 0, 0],
        ] {
            assert!(read(Content::Handshake, bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn control_records_are_what_they_say(
            head in prop::sample::select(vec![vec![], vec![1], vec![4, 0, 0], vec![24, 0, 0, 1]]),
            tail in proptest::collection::vec(prop_oneof![0_u8..5, any::<u8>()], 0..12),
        ) {
            fuzz_control(&[head, tail].concat());
        }
    }
}
