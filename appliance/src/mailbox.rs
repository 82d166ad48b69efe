//! What the threads of the data plane tell the loop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// Where messages arrive. Readable when there may be some.
#[derive(Debug)]
pub struct Mailbox<T> {
    receiver: Receiver<T>,
    sender: Sender<T>,
    bell: Arc<Bell>,
}

/// Where they are sent from, by any thread.
#[derive(Debug)]
pub struct Slot<T> {
    sender: Sender<T>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    event: OwnedFd,
    /// Whether it rang and nobody has looked since: then it need not ring again.
    has_rung: AtomicBool,
}

impl<T> Mailbox<T> {
    /// An empty one.
    ///
    /// # Errors
    /// If the process is out of descriptors.
    pub fn new() -> Result<Self, Errno> {
        let (sender, receiver) = mpsc::channel();
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let has_rung = AtomicBool::new(false);
        Ok(Self {
            receiver,
            sender,
            bell: Arc::new(Bell { event, has_rung }),
        })
    }

    /// For whoever has something to tell.
    #[must_use]
    pub fn slot(&self) -> Slot<T> {
        Slot {
            sender: self.sender.clone(),
            bell: self.bell.clone(),
        }
    }

    /// Takes what has arrived. Whether the mailbox is readable is known to the caller: looking costs a system
    /// call, and without it a bell that has rung goes on ringing.
    pub fn take(&self, is_readable: bool) -> Vec<T> {
        if is_readable {
            self.bell.hush();
        }
        self.receiver.try_iter().collect()
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }
}

impl<T> Slot<T> {
    /// Sends. Without effect once the mailbox is gone.
    pub fn send(&self, message: T) {
        if self.sender.send(message).is_ok() {
            self.bell.ring();
        }
    }

    /// Leaves what need not be known at once: the mailbox does not get readable for it.
    pub fn leave(&self, message: T) {
        // A mailbox that is gone wants nothing.
        let _ = self.sender.send(message);
    }
}

impl Bell {
    fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::SeqCst) {
            // A counter that is full (EAGAIN) is readable, which is all that is wanted.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Before the messages are taken: who sends after this rings again.
    fn hush(&self) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        self.has_rung.swap(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(mailbox: &Mailbox<u32>) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(mailbox, PollFlags::IN)], Some(&now)).unwrap() > 0
    }

    #[test]
    fn many_messages_of_many_threads_arrive_and_the_bell_rings_until_they_are_taken() {
        let mailbox = Mailbox::new().unwrap();
        assert!(!is_readable(&mailbox));
        std::thread::scope(|scope| {
            for sender in 0..4 {
                let slot = mailbox.slot();
                scope.spawn(move || (0..1000).for_each(|number| slot.send(sender * 1000 + number)));
            }
            let mut taken = Vec::new();
            while taken.len() < 4000 {
                let _ = poll(&mut [PollFd::new(&mailbox, PollFlags::IN)], None).unwrap();
                taken.extend(mailbox.take(true));
            }
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..4000));
        });
        mailbox.slot().send(1);
        assert!(is_readable(&mailbox));
        assert_eq!(mailbox.take(true), [1]);
        assert!(!is_readable(&mailbox) && mailbox.take(true).is_empty());
    }

    #[test]
    fn what_is_left_wakes_nobody_and_comes_with_the_rest_in_its_order() {
        let mailbox = Mailbox::new().unwrap();
        let slot = mailbox.slot();
        slot.leave(1);
        assert!(!is_readable(&mailbox));
        slot.send(2);
        slot.leave(3);
        assert!(is_readable(&mailbox));
        assert_eq!(mailbox.take(true), [1, 2, 3]);
        slot.leave(4);
        assert!(!is_readable(&mailbox));
        assert_eq!(mailbox.take(false), [4]);
    }
}
