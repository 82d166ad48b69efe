//! What went wrong, in words for a person who has never seen this program.

use std::fmt;

use tests::appliance::Appliance;

use crate::shown;

/// How much of the console is quoted.
const QUOTED_LINES: usize = 20;

/// A step of the demo that did not succeed.
#[derive(Debug)]
pub struct Failure {
    step: String,
    why: String,
    /// The console's last lines, if there is a console.
    console: Option<String>,
}

impl Failure {
    /// Turns the cause of a step's failure into it, for `map_err`.
    pub fn of<E: fmt::Display>(step: &str) -> impl FnOnce(E) -> Self {
        let step = step.to_owned();
        move |why| Self {
            step,
            why: why.to_string(),
            console: None,
        }
    }

    /// The same with the last lines of a machine's console.
    pub fn with_console(self, appliance: &Appliance) -> Self {
        let lines = shown::lines(&appliance.console().raw());
        let quoted = lines.len().saturating_sub(QUOTED_LINES);
        Self {
            console: Some(shown::framed(&lines[quoted..])),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "demo: the step \"{}\" failed: {}", self.step, self.why)?;
        match self.console.as_deref() {
            None => Ok(()),
            Some("") => f.write_str("\nThe console has said nothing."),
            Some(lines) => write!(f, "\nLast lines of the console:\n{lines}"),
        }
    }
}
