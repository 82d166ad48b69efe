//! Builds: what runs in the VM, what runs on the host, the image.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{self, Failed};

/// The only target: the guest's binaries are static ones of the host's own.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Cargo profile of what goes into the image.
const PROFILE: &str = "appliance";

/// Builds the guest's binaries, the kernel if it is not cached, and the image.
pub fn image(arguments: &[String]) -> Result<(), Failed> {
    let binaries = guest()?;
    host(&["image-builder"])?;
    let mut command = cargo(&["run", "--quiet", "-p", "image-builder", "--"]);
    if arguments.first().is_none_or(|first| first.starts_with('-')) {
        command
            .arg("build")
            .arg("--binaries")
            .arg(binaries)
            .arg("--out")
            .arg(image_dir());
    }
    step::run("image", command.args(arguments))
}

/// Runs a command of the image builder that works on images which are there: neither the kernel nor
/// the programs of the VM are built, and no Debian package is needed. Paths are the user's.
pub fn on_images(arguments: &[String]) -> Result<(), Failed> {
    host(&["image-builder"])?;
    let mut command = cargo(&["run", "--quiet", "-p", "image-builder", "--"]);
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    let name = format!("image {}", arguments.join(" "));
    step::run_quietly(&name, command.args(arguments))
}

/// Where the image goes.
pub fn image_dir() -> PathBuf {
    target_dir().join("image")
}

/// Builds packages for the host.
pub fn host(packages: &[&str]) -> Result<(), Failed> {
    let mut command = cargo(&["build", "--quiet"]);
    for package in packages {
        command.args(["-p", package]);
    }
    step::run(&format!("build of {}", packages.join(", ")), &mut command)
}

/// Builds the static binaries that run in the VM; returns the folder they are in.
fn guest() -> Result<PathBuf, Failed> {
    static_build("build of what runs in the VM", &["init", "appliance"])
}

fn static_build(name: &str, packages: &[&str]) -> Result<PathBuf, Failed> {
    let target_dir = target_dir().join("appliance");
    let mut command = cargo(&["build", "--quiet", "--profile", PROFILE, "--target", TARGET]);
    for package in packages {
        command.args(["-p", package]);
    }
    command.arg("--target-dir").arg(&target_dir);
    command
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags())
        .env_remove("RUSTFLAGS");
    step::run(name, &mut command)?;
    Ok(target_dir.join(TARGET).join(PROFILE))
}

/// Builds what runs in test VMs only: the test agent, and the cases of the splice core.
pub fn agent() -> Result<(), Failed> {
    static_build("build of what test VMs run", &["agent", "guest"]).map(drop)
}

/// Builds the connector as it is in the image; returns where it is.
pub fn connector() -> Result<PathBuf, Failed> {
    let folder = static_build("build of the connector", &["appliance"])?;
    Ok(folder.join("connector"))
}

/// Builds packages for the host as people run them; returns the folder they are in.
pub fn release(packages: &[&str]) -> Result<PathBuf, Failed> {
    let mut command = cargo(&["build", "--quiet", "--release"]);
    for package in packages {
        command.args(["-p", package]);
    }
    step::run(&format!("build of {}", packages.join(", ")), &mut command)?;
    Ok(target_dir().join("release"))
}

/// Static linking, and no path of this machine in the binaries: the image is to be the same
/// wherever it is built. In cargo's encoded form, since a path may contain a space.
fn rustflags() -> String {
    let mut flags = vec!["-C".to_owned(), "target-feature=+crt-static".to_owned()];
    // Without it the crate getrandom looks for the system call by a weak symbol, which a static program does
    // not have, and reads /dev/urandom: a file that the processes need not see.
    flags.extend([
        "--cfg".to_owned(),
        "getrandom_backend=\"linux_getrandom\"".to_owned(),
    ]);
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(&workspace(), "/outgate");
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or(home.join(".cargo"), PathBuf::from);
    remap(&cargo_home, "/cargo");
    flags.join("\x1f")
}

/// A cargo command in the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(workspace());
    command
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    let dir =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    workspace().join(dir)
}

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
