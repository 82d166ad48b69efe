//! `image-builder kernel` and `image-builder build`: see [`USAGE`].

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use image_builder::build::{Options, build};
use image_builder::output::sha256_hex;

const USAGE: &str = "\
usage: image-builder kernel
         build the kernel, or find it in the cache, and print its path
       image-builder build [--out DIR] [--binaries DIR] [--edge HOST[:PORT]] [--kernel FILE]
         build the disk image
           --out       where it goes                        [target/image]
           --binaries  static `init`, `connector`, `console`
                       [target/appliance/x86_64-unknown-linux-gnu/appliance]
           --edge      write this service edge into the image
           --kernel    use this bzImage and build none
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((command, [])) if command == "kernel" => image_builder::kernel::main_ensure(),
        Some((command, rest)) if command == "build" => match parse(rest) {
            Ok(options) => run(&options),
            Err(message) => refuse(&message),
        },
        Some((command, _)) => refuse(&format!("{command:?} is no command here")),
        None => refuse("a command is missing"),
    }
}

fn run(options: &Options) -> ExitCode {
    let artefacts = match build(options) {
        Ok(artefacts) => artefacts,
        Err(error) => {
            eprintln!("image   {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = std::io::stdout().lock();
    let printed = artefacts.iter().try_for_each(|artefact| {
        let path = options.out.join(artefact.name);
        let digest = sha256_hex(&artefact.content);
        writeln!(
            out,
            "{digest}  {:>10}  {}",
            artefact.content.len(),
            path.display()
        )
    });
    if printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(arguments: &[OsString]) -> Result<Options, String> {
    let mut options = Options {
        out: PathBuf::from("target/image"),
        binaries: PathBuf::from("target/appliance/x86_64-unknown-linux-gnu/appliance"),
        edge: None,
        kernel: None,
    };
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{flag:?} needs a value"))?;
        match flag.to_str() {
            Some("--out") => options.out = value.into(),
            Some("--binaries") => options.binaries = value.into(),
            Some("--kernel") => options.kernel = Some(value.into()),
            Some("--edge") => {
                let text = value.to_str().ok_or("--edge takes ASCII text")?;
                options.edge = Some(text.parse().map_err(|error| format!("--edge {error}"))?);
            }
            Some(_) | None => return Err(format!("{flag:?} is no option of build")),
        }
    }
    Ok(options)
}

fn refuse(message: &str) -> ExitCode {
    eprint!("image-builder: {message}\n{USAGE}");
    ExitCode::from(2)
}
