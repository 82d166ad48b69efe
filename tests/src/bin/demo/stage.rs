//! What is there before the machine is switched on: network, private web server, edge, user, key.

use std::fs::{self, File, TryLockError};
use std::time::Instant;

use qemu::accel::{self, Choice};
use qemu::host;
use tests::appliance::{Appliance, BootOptions};
use tests::folders;
use tests::lab::{self, Lab};
use tests::scene::{GROUP, Scene};

use crate::curl::Curl;
use crate::failure::Failure;
use crate::say;

/// Everything but the machine.
#[derive(Debug)]
pub struct Stage {
    /// What the machine is started with.
    pub options: BootOptions,
    /// Who executes the machine's instructions.
    pub choice: Choice,
    /// The provisioning key: one use, 24 hours.
    pub key: String,
    /// The user.
    pub curl: Curl,
    /// Size of the image that is booted, in bytes.
    pub image_bytes: u64,
    scene: Scene,
    /// Held while the folder is in use.
    _lock: File,
}

impl Stage {
    /// Starts all of it, in the folder `demo` of the build's target folder, which is emptied first.
    ///
    /// # Errors
    /// [`Failure`], naming what is missing.
    pub fn set() -> Result<Self, Failure> {
        let image = lab::find_image().map_err(Failure::of("find the image"))?;
        let image_bytes = fs::metadata(&image)
            .map_err(Failure::of("find the image"))?
            .len();
        let qemu = host::find_qemu().map_err(Failure::of("find QEMU"))?;
        let choice = accel::choose(&qemu).map_err(Failure::of("choose an accelerator"))?;
        let lock = lock()?;
        let mut lab = Lab::in_folder(folders::target().join(FOLDER))
            .map_err(Failure::of("start the virtual network"))?;
        lab.keep_folder();
        say(&format!(
            "Image: {}\nAccelerator: {}.\nFiles: {} (appliance.console.txt is what the console \
             said, network.pcap every frame, edge/edge.log the edge's log)\n",
            image.display(),
            choice.reason,
            lab.folder().display()
        ));
        let mut scene = Scene::in_lab(lab).map_err(Failure::of("start the service edge"))?;
        let key = mint(&mut scene)?;
        let curl = Curl::new(scene.edge().proxy(), scene.password());
        Ok(Self {
            options: BootOptions::default(),
            choice,
            key,
            curl,
            image_bytes,
            scene,
            _lock: lock,
        })
    }

    /// Switches the machine on; also says when.
    ///
    /// # Errors
    /// [`Failure`], with QEMU's words.
    pub fn boot(&self) -> Result<(Appliance, Instant), Failure> {
        let power_on = Instant::now();
        let appliance = self
            .scene
            .lab
            .boot_by(self.choice.accelerator, &self.options)
            .map_err(Failure::of("power-on"))?;
        Ok((appliance, power_on))
    }
}

fn mint(scene: &mut Scene) -> Result<String, Failure> {
    let words = [
        "key",
        "mint",
        "--group",
        GROUP,
        "--max-uses",
        "1",
        "--expires",
        "24h",
    ];
    let answer = scene.edge().admin(&words);
    let answer = answer.map_err(Failure::of("mint a provisioning key"))?;
    let key = answer["key"].as_str().map(str::to_owned);
    key.ok_or_else(|| Failure::of("mint a provisioning key")(format!("the edge says {answer}")))
}

/// Two demos would empty each other's folder.
fn lock() -> Result<File, Failure> {
    let path = folders::target().join(LOCK_FILE);
    let file = File::create(&path).map_err(Failure::of("create the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = format!(
                "another demo holds {}: leave that one first",
                path.display()
            );
            Err(Failure::of("lock the demo's folder")(why))
        }
        Err(TryLockError::Error(error)) => Err(Failure::of("lock the demo's folder")(error)),
    }
}

/// In the build's target folder.
const FOLDER: &str = "demo";
const LOCK_FILE: &str = "demo.lock";
