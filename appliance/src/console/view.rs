//! The live line under the history, and the bytes that put lines on a screen. Pure.

use std::collections::VecDeque;

use connector_proto::local::{Awaited, ConnectorStatus, Phase};
use zeroize::Zeroizing;

use super::entry::Question;
use super::model::{Connector, Model};
use super::sentence::{self, edge_name};
use super::text::{
    COLUMNS, STAMP_COLUMNS, amount, count, cut, cut_front, duration, printable, wrap,
};

/// The line under the history.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Printable ASCII of at most [`COLUMNS`]. It may be a part of a key, so it is wiped.
    pub text: Zeroizing<String>,
    /// It answers what is typed, so a change is drawn at once, not at the next second.
    pub prompt: bool,
}

/// The live line of a terminal at `now_us` of `CLOCK_BOOTTIME`.
#[must_use]
pub fn live(model: &Model, terminal: usize, now_us: u64) -> Live {
    if let Some(question) = model.question(terminal) {
        let label = match question {
            Question::Edge => EDGE_PROMPT.to_owned(),
            Question::Key => key_prompt(model.ignored(terminal)),
            Question::ProxyUser => USER_PROMPT.to_owned(),
            Question::ProxyPassword => PASSWORD_PROMPT.to_owned(),
            Question::Reset => RESET_PROMPT.to_owned(),
        };
        let typed = model.typed_text(terminal, question);
        // One column stays free for the cursor.
        let typed = Zeroizing::new(cut_front(&typed, COLUMNS - label.len() - 1));
        return Live {
            text: Zeroizing::new(format!("{label}{}", *typed)),
            prompt: true,
        };
    }
    Live {
        text: Zeroizing::new(with_trial(model, status_line(model, now_us), now_us)),
        prompt: false,
    }
}

/// Says as well how much of what was typed did not count.
fn key_prompt(ignored: u32) -> String {
    match ignored {
        0 => KEY_PROMPT.to_owned(),
        1..=999 => format!("Provisioning key ({ignored} ignored): "),
        _ => "Provisioning key (999+ ignored): ".to_owned(),
    }
}

/// One terminal's lines that are not on its screen yet, and the live line that is.
#[derive(Debug, Default)]
pub struct Screen {
    lines: VecDeque<String>,
    /// Lines that were dropped because the terminal did not take them.
    lost: u64,
    shown: Option<Live>,
    drawn_at_us: u64,
}

impl Screen {
    /// Takes a line for the history. Of more than [`LINES_MAX`] that wait, the oldest is dropped.
    pub fn say(&mut self, line: &str) {
        let indent = if line.starts_with('[') {
            STAMP_COLUMNS
        } else {
            0
        };
        for part in wrap(line, indent) {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
                self.lost += 1;
            }
            self.lines.push_back(part);
        }
    }

    /// Has the live line drawn anew by the next [`Self::poll_transmit`].
    pub fn redraw(&mut self) {
        self.shown = None;
    }

    /// The bytes that bring the screen up to date; empty when it is.
    ///
    /// To be called when the terminal has taken all bytes from before, so that a terminal which
    /// takes none holds at most [`LINES_MAX`] lines.
    pub fn poll_transmit(&mut self, now_us: u64, live: Live) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(String::new());
        let changed = self.shown.as_ref() != Some(&live);
        if self.lines.is_empty() && (!changed || self.must_wait(now_us, &live)) {
            return bytes;
        }
        // The most that can follow, so that the string does not leave copies when it grows.
        bytes.reserve((self.lines.len() + 2) * (COLUMNS + 8));
        if self.lost > 0 {
            let lost = count(self.lost, "line");
            push_line(&mut bytes, &format!("({lost} could not be shown in time)"));
            self.lost = 0;
        }
        for line in self.lines.drain(..) {
            push_line(&mut bytes, &line);
        }
        bytes.push('\r');
        bytes.push_str(&live.text);
        bytes.push_str(ERASE_REST);
        self.shown = Some(live);
        self.drawn_at_us = now_us;
        bytes
    }

    /// When the live line may change by itself, at the earliest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match &self.shown {
            Some(Live { prompt: true, .. }) => None,
            Some(_) => Some(self.drawn_at_us.saturating_add(REDRAW_US)),
            None => None,
        }
    }

    fn must_wait(&self, now_us: u64, live: &Live) -> bool {
        let both_status = self
            .shown
            .as_ref()
            .is_some_and(|shown| !shown.prompt && !live.prompt);
        both_status && now_us.saturating_sub(self.drawn_at_us) < REDRAW_US
    }
}

fn push_line(bytes: &mut String, line: &str) {
    bytes.push('\r');
    bytes.push_str(line);
    bytes.push_str(ERASE_REST);
    bytes.push_str("\r\n");
}

/// The status line, and behind it what is left of a trial, as far as there is room.
fn with_trial(model: &Model, line: String, now_us: u64) -> String {
    let Some((until_us, awaited)) = model.trial().filter(|_| model.shutting_down.is_none()) else {
        return line;
    };
    let left = duration(until_us.saturating_sub(now_us));
    first_that_fits(&[
        format!("{line}. Trial: {left} left {awaited}"),
        format!("{line}. Trial: {left} left"),
        line,
    ])
}

fn status_line(model: &Model, now_us: u64) -> String {
    if let Some(restart) = model.shutting_down {
        return sentence::shutting_down(restart).to_owned();
    }
    if let Some(submitted) = &model.submitted {
        return match submitted.question {
            Question::Edge => "Service edge sent to the connector".to_owned(),
            Question::Key => "Key sent to the connector".to_owned(),
            Question::Reset => "Erasing this machine's identity".to_owned(),
            Question::ProxyUser | Question::ProxyPassword => {
                "User and password sent to the connector".to_owned()
            }
        };
    }
    if let Connector::Running(status) = &model.connector
        && (matches!(status.phase, Phase::Connected { .. } | Phase::Stuck { .. })
            // While the edge's time is awaited, the connector is on its way to it.
            || matches!(model.waits_for(), None | Some((Awaited::EdgeTime, _))))
    {
        return phase_line(status, now_us);
    }
    match (model.waits_for(), &model.connector) {
        (Some((what, since_us)), _) => {
            format!(
                "Waiting for {} for {}",
                sentence::awaited(what),
                since(now_us, since_us)
            )
        }
        (None, Connector::Gone { since_us }) => {
            format!(
                "Waiting for the connector to start for {}",
                since(now_us, *since_us)
            )
        }
        (None, Connector::NotYet | Connector::Running(_)) => "Starting".to_owned(),
    }
}

fn phase_line(status: &ConnectorStatus, now_us: u64) -> String {
    let edge = edge_name(status);
    let lasted = since(now_us, status.since_boot_us);
    match &status.phase {
        Phase::Connecting {
            attempt,
            last_error,
            next_boot_us,
            enrolling,
        } => {
            let purpose = if *enrolling {
                " to enrol (the key is kept)"
            } else {
                ""
            };
            let next = match next_boot_us.checked_sub(now_us) {
                // Rounded up: at 0:00 the attempt has begun.
                Some(us @ 1..) => format!(", next in {}", duration(us.saturating_add(999_999))),
                Some(0) | None => String::new(),
            };
            let error = printable(last_error);
            let error = if error.is_empty() {
                error
            } else {
                format!(": {error}")
            };
            let edge = cut(&edge, EDGE_COLUMNS);
            let work = format!("for {lasted}, attempt {attempt}{next}{error}");
            // The reason matters most; the edge and the purpose stand in the history as well.
            let way = sentence::way(status);
            first_that_fits(&[
                format!("Connecting to {edge}{way}{purpose} {work}"),
                format!("Connecting to {edge}{purpose} {work}"),
                format!("Connecting to {edge} {work}"),
                format!("Connecting {work}"),
            ])
        }
        Phase::Connected { name, group } => {
            let (name, group) = (printable(name), printable(group));
            let work = format!(
                "for {lasted}. {}, {} up, {} down",
                count(u64::from(status.sessions), "session"),
                amount(status.bytes_up),
                amount(status.bytes_down)
            );
            first_that_fits(&[
                format!("Connected to {edge} as {name} (group {group}) {work}"),
                format!("Connected to {edge} as {name} {work}"),
                format!("Connected to {edge} {work}"),
                format!("Connected to {} {work}", cut(&edge, 16)),
            ])
        }
        Phase::Enrolling => {
            let edge = cut(&edge, EDGE_COLUMNS);
            format!("Enrolling at {edge} for {lasted}")
        }
        Phase::Stuck { text } => cut(&format!("Stopped: {}", printable(text)), COLUMNS),
        // These ask something, and are seen only while another terminal's answer is under way.
        Phase::NeedEdge
        | Phase::NeedKey { .. }
        | Phase::Held { .. }
        | Phase::NeedProxyCredentials { .. } => "Waiting for the operator".to_owned(),
    }
}

fn first_that_fits(candidates: &[String]) -> String {
    let fitting = candidates
        .iter()
        .find(|candidate| candidate.len() <= COLUMNS);
    fitting
        .or_else(|| candidates.last())
        .map(|line| cut(line, COLUMNS))
        .unwrap_or_default()
}

fn since(now_us: u64, since_us: u64) -> String {
    duration(now_us.saturating_sub(since_us))
}

/// The prompts are what automated readers wait for.
const KEY_PROMPT: &str = "Provisioning key: ";
const EDGE_PROMPT: &str = "Service edge (name or name:port): ";
const USER_PROMPT: &str = "Proxy user: ";
const PASSWORD_PROMPT: &str = "Proxy password: ";
const RESET_PROMPT: &str = "Type RESET to erase this machine's identity: ";

/// Columns of the live line that an edge's name gets at most.
const EDGE_COLUMNS: usize = 30;

/// `EL`: erase from the cursor to the end of the line; the one control sequence that is written.
const ERASE_REST: &str = "\x1b[K";

/// Lines that wait for a terminal to take them: 16 KB, two hundred lines of 79 columns.
pub const LINES_MAX: usize = 200;

/// The live line is drawn at most this often unless the operator types.
const REDRAW_US: u64 = 1_000_000;
