//! A hypervisor that keeps to the protocol, and what it may do at any step.

use proptest::prelude::*;

use super::*;

/// A hypervisor with one variable.
#[derive(Default)]
struct Hypervisor {
    value: Option<Vec<u8>>,
    knows_cookies: bool,
    /// At which steps it says that the machine was suspended.
    checkpoints: Vec<usize>,
    steps: usize,
    is_open: bool,
    size: usize,
    request: Vec<u8>,
    answer: Vec<u8>,
    at: usize,
}

const COOKIE: (u32, u32) = (0xdead_beef, 0x1234_5678);
const CHANNEL: u16 = 3;

impl Hypervisor {
    fn with(value: &[u8]) -> Self {
        Self {
            value: Some(value.to_vec()),
            knows_cookies: true,
            ..Self::default()
        }
    }

    fn done(value: u32, kind: u16) -> Reply {
        Reply {
            status: status::SUCCESS,
            kind,
            value,
            ..Reply::default()
        }
    }

    fn answered(&mut self) {
        let wanted = b"info-get guestinfo.ovfEnv";
        self.answer = match &self.value {
            Some(value) if self.request == wanted => [b"1 ", value.as_slice()].concat(),
            _ => b"0 No value found".to_vec(),
        };
    }
}

impl Port for Hypervisor {
    fn call(&mut self, request: Request) -> Reply {
        self.steps += 1;
        if self.checkpoints.contains(&self.steps) {
            let status = status::CHECKPOINT;
            return Reply {
                status,
                ..Reply::default()
            };
        }
        if request.step == step::OPEN {
            let has_flag = request.value & WITH_COOKIE != 0;
            if has_flag && !self.knows_cookies {
                return Reply::default();
            }
            self.is_open = true;
            let cookie = if has_flag { COOKIE } else { (0, 0) };
            return Reply {
                cookie,
                ..Self::done(0, CHANNEL)
            };
        }
        let cookie = if self.knows_cookies { COOKIE } else { (0, 0) };
        assert!(self.is_open && request.channel == CHANNEL && request.cookie == cookie);
        match request.step {
            step::SEND_SIZE => {
                self.size = request.value as usize;
                self.request.clear();
                Self::done(0, 0)
            }
            step::SEND_PAYLOAD => {
                self.request.extend(request.value.to_le_bytes());
                if self.request.len() >= self.size {
                    self.request.truncate(self.size);
                    self.answered();
                }
                Self::done(0, 0)
            }
            step::RECEIVE_SIZE => {
                self.at = 0;
                let bytes = u32::try_from(self.answer.len()).unwrap();
                let reply = Self::done(bytes, step::SEND_SIZE);
                let status = reply.status | status::ANSWER_WAITS;
                Reply { status, ..reply }
            }
            step::RECEIVE_PAYLOAD => {
                let piece = self.answer[self.at..].iter().take(4);
                let mut word = [0xaa; 4];
                piece.zip(&mut word).for_each(|(from, to)| *to = *from);
                self.at += 4;
                Self::done(u32::from_le_bytes(word), step::SEND_PAYLOAD)
            }
            step::RECEIVE_STATUS => Self::done(0, 0),
            step::CLOSE => {
                self.is_open = false;
                Self::done(0, 0)
            }
            other => panic!("step {other}"),
        }
    }
}

fn ask(hypervisor: &mut Hypervisor) -> Result<Option<Vec<u8>>, RpcError> {
    let got = get(hypervisor, "guestinfo.ovfEnv");
    assert!(!hypervisor.is_open, "the channel is closed whatever came");
    got
}

#[test]
fn a_value_of_any_length_is_fetched_whole() {
    for length in [0, 1, 2, 3, 4, 5, 1000, ANSWER_BYTES_MAX - 2] {
        let value: Vec<u8> = (0..=255).cycle().take(length).collect();
        let got = ask(&mut Hypervisor::with(&value));
        assert_eq!(got, Ok(Some(value)), "{length}");
    }
}

#[test]
fn a_hypervisor_without_cookies_is_asked_without() {
    let mut old = Hypervisor {
        knows_cookies: false,
        ..Hypervisor::with(b"<Environment/>")
    };
    assert_eq!(ask(&mut old), Ok(Some(b"<Environment/>".to_vec())));
}

#[test]
fn a_variable_that_is_not_set_is_no_error() {
    let mut empty = Hypervisor {
        knows_cookies: true,
        ..Hypervisor::default()
    };
    assert_eq!(ask(&mut empty), Ok(None));
}

#[test]
fn a_value_that_is_too_long_is_not_fetched() {
    let mut long = Hypervisor::with(&vec![b'x'; ANSWER_BYTES_MAX - 1]);
    let bytes = u32::try_from(ANSWER_BYTES_MAX + 1).unwrap();
    assert_eq!(ask(&mut long), Err(RpcError::TooLong { bytes }));
    assert!(long.steps < 20);
}

#[test]
fn a_machine_that_was_moved_at_any_step_gets_the_value_all_the_same() {
    let mut whole = Hypervisor::with(b"<Environment/>");
    ask(&mut whole).unwrap();
    // Opening is tried once more as well; closing needs no answer.
    for step in 1..=whole.steps {
        let mut moved = Hypervisor::with(b"<Environment/>");
        moved.checkpoints = vec![step];
        if step == 1 {
            moved.knows_cookies = false;
        }
        let got = get(&mut moved, "guestinfo.ovfEnv");
        assert_eq!(got, Ok(Some(b"<Environment/>".to_vec())), "step {step}");
    }
}

#[test]
fn a_machine_that_is_moved_without_end_and_one_that_is_refused_give_up() {
    let mut restless = Hypervisor::with(b"x");
    restless.checkpoints = (2..1000).collect();
    let got = get(&mut restless, "guestinfo.ovfEnv");
    assert_eq!(got, Err(RpcError::Restarted));
    struct Deaf;
    impl Port for Deaf {
        fn call(&mut self, _: Request) -> Reply {
            Reply::default()
        }
    }
    let error = get(&mut Deaf, "guestinfo.ovfEnv").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the hypervisor refuses to open a channel"
    );
}

proptest! {
    #[test]
    fn no_answers_make_the_exchange_panic_or_go_on_without_end(
        mut data in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        fuzz_guestinfo(&data);
        // The same with steps that succeed, so that the later ones are reached.
        data.chunks_mut(6).for_each(|reply| reply[0] |= 1);
        fuzz_guestinfo(&data);
    }
}
