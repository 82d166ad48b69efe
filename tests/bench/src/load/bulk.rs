//! Bulk through a tunnel: several flows, measured while they run.

use std::io::Write as _;
use std::sync::Arc;
use std::thread;

use crate::load::door::Door;
use crate::load::flow::{Content, Flow, Flows};
use crate::load::{DOWN, UP};
use crate::trouble::Trouble;

/// How many flows go which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// From the application to users.
    pub up: usize,
    /// From users to the application.
    pub down: usize,
}

impl Mix {
    /// Flows up alone.
    #[must_use]
    pub const fn up(flows: usize) -> Self {
        Self { up: flows, down: 0 }
    }

    /// Flows down alone.
    #[must_use]
    pub const fn down(flows: usize) -> Self {
        Self { up: 0, down: flows }
    }
}

/// Flows that run.
#[derive(Debug)]
pub struct Bulk(Vec<Arc<Flow>>);

impl Bulk {
    /// Starts the flows, each with `rate` bytes a second or as fast as there goes.
    ///
    /// # Errors
    /// If a user cannot come in.
    pub fn start(door: &Door, flows: &Flows, mix: Mix, rate: Option<u64>) -> Result<Self, Trouble> {
        let content = Arc::new(Content::new()?);
        let mut bulk = Self(Vec::new());
        for role in [UP]
            .repeat(mix.up)
            .into_iter()
            .chain([DOWN].repeat(mix.down))
        {
            let flow = Flow::new(rate);
            let number = flows.announce(&flow);
            let mut stream = door.connect().map_err(Trouble::at("a flow's session"))?;
            let mut head = vec![role];
            head.extend(number.to_be_bytes());
            stream.write_all(&head)?;
            bulk.0.push(Arc::clone(&flow));
            let content = Arc::clone(&content);
            thread::spawn(move || match role {
                UP => flow.receive(&stream),
                _ => {
                    flow.send(&stream, &content);
                    // The session stays until the application has seen its end. Who stops the flow
                    // hears of what is missing.
                    let _ = flow.finish();
                }
            });
        }
        Ok(bulk)
    }

    /// Bytes that have arrived, of all flows.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.iter().map(|flow| flow.received()).sum()
    }

    /// Stops the flows and waits until everything that was sent has arrived.
    ///
    /// # Errors
    /// What broke or is missing.
    pub fn finish(self) -> Result<(), Trouble> {
        for flow in &self.0 {
            flow.stop();
        }
        for flow in &self.0 {
            flow.finish().map_err(Trouble::Failed)?;
        }
        Ok(())
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        for flow in &self.0 {
            flow.stop();
        }
    }
}
