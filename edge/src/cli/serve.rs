//! `edge serve`.

use std::io::{self, Write as _};

use log::info;
use splice_core::calibrate::calibrate;
use splice_core::engine::Engine;
use tokio::signal::unix::{SignalKind, signal};

use super::commands::EngineChoice;
use super::output::Output;
use crate::config::Config;
use crate::server::{Edge, Running};
use crate::{Error, descriptors, log_sink};

/// Serves until SIGTERM or SIGINT. Prints one line when ready, with the addresses in use.
pub(super) fn run(mut config: Config, engine: EngineChoice) -> Result<Output, Error> {
    log_sink::start();
    config.plane.engine = chosen(engine);
    descriptors::raise_limit();
    let runtime = tokio::runtime::Runtime::new().map_err(Error::io("starting threads"))?;
    runtime.block_on(serve(config))?;
    Ok(Output::Nothing)
}

/// The engine that carries the sessions; the faster one, if that is to be found.
fn chosen(choice: EngineChoice) -> Engine {
    match choice {
        EngineChoice::Kernel => Engine::Kernel,
        EngineChoice::User => Engine::InPlace,
        EngineChoice::Auto => {
            let found = calibrate();
            info!("engine {found}");
            found.chosen
        }
    }
}

async fn serve(config: Config) -> Result<(), Error> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Error::io("listening for SIGTERM"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(Error::io("listening for SIGINT"))?;
    let running = Edge::start(config).await?;
    announce(&running).map_err(Error::io("writing to standard output"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await;
    Ok(())
}

fn announce(running: &Running) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "ready control={} proxy={}",
        running.control_addr, running.proxy_addr
    )?;
    stdout.flush()
}
