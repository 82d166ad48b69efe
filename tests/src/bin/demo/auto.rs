//! The demo types the key itself, fetches the page, and measures.
//!
//! Times are of this computer's clock, from before QEMU is started to the moment the console's line
//! has arrived, so they hold for a person who waits in front of it.

use std::time::{Duration, Instant};

use qemu::console::ConsoleError;
use tests::appliance::Appliance;

use crate::failure::Failure;
use crate::stage::Stage;
use crate::table::{self, Row};
use crate::{say, shown};

/// How much of the console is shown.
const EXCERPT_LINES: usize = 15;

/// Something the console says on the way to the prompt.
struct Milestone {
    /// Its name in the table.
    name: &'static str,
    /// The console's words.
    phrase: &'static str,
    /// How long it may take after the one before, on a busy computer without KVM.
    time_max: Duration,
}

/// In the order in which they usually come; the last two may change places.
const MILESTONES: [Milestone; 4] = [
    milestone("init", "Outgate ", 180),
    milestone("NetUp", "Network up:", 60),
    milestone("ClockOk", "Clock set by", 60),
    milestone("prompt", "Provisioning key:", 60),
];

/// How long may pass from the key to the control channel.
const ENROLMENT_TIME_MAX: Duration = Duration::from_secs(90);

/// How long the console may take to say how much memory is used, once it is connected.
const MEMORY_TIME_MAX: Duration = Duration::from_secs(20);

/// Runs the demo without a person.
///
/// # Errors
/// [`Failure`], naming the step, with the console's last lines.
pub fn run(stage: &mut Stage) -> Result<(), Failure> {
    say("\nBooting the image.\n");
    let (appliance, power_on) = stage.boot()?;
    let told = tell(stage, &appliance, power_on);
    let (rows, page) = told.map_err(|failure| failure.with_console(&appliance))?;
    let lines = shown::lines(&appliance.console().raw());
    appliance.power_off().map_err(Failure::of("shut down"))?;
    say(&report(stage, &lines, &page, &rows));
    Ok(())
}

fn report(stage: &Stage, console: &[String], page: &str, rows: &[Row]) -> String {
    let console = shown::framed(&console[..console.len().min(EXCERPT_LINES)]);
    let page: Vec<_> = page.lines().map(str::to_owned).collect();
    format!(
        "\nThe console:\n\n{console}\n\nThe page, by {}\n\n{}\n\nHow long it took:\n\n{}\n\
         {TIMES_ARE}\nAccelerator: {}.\n",
        stage.curl.command_line(),
        shown::framed(&page),
        table::render(rows),
        stage.choice.reason
    )
}

/// From power-on to the page: the times, and the page.
fn tell(
    stage: &Stage,
    appliance: &Appliance,
    power_on: Instant,
) -> Result<(Vec<Row>, String), Failure> {
    let mut rows = Vec::new();
    let mut took = |from, to, since: Instant| {
        let took = since.elapsed();
        progress(&format!("{from} to {to}"), took);
        rows.push(Row::time(from, to, took));
    };
    let mut missing: Vec<_> = MILESTONES.iter().collect();
    while let Some(first) = missing.first() {
        let phrases: Vec<_> = missing.iter().map(|milestone| milestone.phrase).collect();
        let found = appliance.console().wait_for_any(&phrases, first.time_max);
        let found = found.map_err(|error| unheard(first.name, &error))?;
        let reached = missing.remove(found.pattern);
        took("power-on", reached.name, power_on);
    }
    let typed = Instant::now();
    enrol(appliance, &stage.key)?;
    took("key", "Connected", typed);
    let asked = Instant::now();
    let page = stage.curl.fetch();
    let page = page.map_err(Failure::of(FETCH))?;
    took("request", "page fetched", asked);
    rows.push(Row::size("image size", stage.image_bytes));
    rows.push(memory(stage, appliance)?);
    Ok((rows, page))
}

fn enrol(appliance: &Appliance, key: &str) -> Result<(), Failure> {
    let typed = appliance.type_line(key);
    typed.map_err(|error| unheard("type the key", &error))?;
    let outcomes = ["Connected to", "Key refused:", "has a wrong letter"];
    let found = appliance
        .console()
        .wait_for_any(&outcomes, ENROLMENT_TIME_MAX);
    let found = found.map_err(|error| unheard("Connected", &error))?;
    if found.pattern == 0 {
        Ok(())
    } else {
        Err(Failure::of("Connected")(
            "the console did not accept the key that the edge minted",
        ))
    }
}

/// What the console says about the guest's memory.
fn memory(stage: &Stage, appliance: &Appliance) -> Result<Row, Failure> {
    let up_to = |end: &str| {
        let heard = appliance.wait_for(end, MEMORY_TIME_MAX);
        heard.map_err(|error| unheard("memory", &error))
    };
    up_to("Memory: ")?;
    let used = up_to(" in use of ")?;
    let total = up_to("\n")?;
    let machine_mib = stage.options.memory_mib;
    let remark = format!(" of the {total} that the kernel manages; the VM has {machine_mib} MiB");
    Ok(Row::amount("memory used in the guest", &used, &remark))
}

/// The failure of a wait for several phrases, the expected one first. The console's lines are quoted
/// as a person sees them, not by the error.
fn unheard(step: &str, error: &ConsoleError) -> Failure {
    let expected = |patterns: &[String]| patterns.first().cloned().unwrap_or_default();
    Failure::of(step)(match error {
        ConsoleError::Closed { patterns, .. } => format!(
            "the machine ended before its console said {:?}",
            expected(patterns)
        ),
        ConsoleError::Io(error) => format!("the console cannot be written to: {error}"),
        ConsoleError::Timeout {
            patterns, waited, ..
        } => format!(
            "the console did not say {:?} within {} s",
            expected(patterns),
            waited.as_secs()
        ),
    })
}

fn progress(what: &str, took: Duration) {
    say(&format!("  {what}: {:.1} s\n", took.as_secs_f64()));
}

const fn milestone(name: &'static str, phrase: &'static str, seconds: u64) -> Milestone {
    Milestone {
        name,
        phrase,
        time_max: Duration::from_secs(seconds),
    }
}

const FETCH: &str = "page fetched";

const TIMES_ARE: &str = "\
Times are wall-clock time of this computer: from starting QEMU to the appearance of the console's
line (\"Outgate\", \"Network up\", \"Clock set\", the prompt), from typing the key to \"Connected to\",
from starting curl to its end. Memory is what the console says once connected.";
