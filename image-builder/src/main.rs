//! `image-builder kernel`, `build`, `mint` and `verify`: see [`USAGE`].

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use image_builder::build::{Options, Signing, build};
use image_builder::output::sha256_hex;
use image_builder::{mint, verify};

const USAGE: &str = "\
usage: image-builder kernel
         build the kernel, or find it in the cache, and print its path
       image-builder build [options]
         build the image: raw disk, qcow2, OVA and its parts, SBOM, build manifest, SHA256SUMS
           --out        where it goes                                       [target/image]
           --binaries   static `init`, `connector`, `console`
                        [target/appliance/x86_64-unknown-linux-gnu/appliance]
           --edge       write this service edge, HOST[:PORT], into the image
           --kernel     use this bzImage and build none
           --sign-key, --sign-cert
                        sign the OVA with this RSA key and its X.509 certificate, both PEM
           --sign-like  repeat the signature of this .cert file: it must fit what is built
       image-builder mint --name NAME ...
         make one image for each connector (mint --help)
       image-builder verify FILE...
         say what a file is and check it (verify --help)
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        return refuse("a command is missing");
    };
    match (command.to_str(), rest) {
        (Some("kernel"), []) => image_builder::kernel::main_ensure(),
        (Some("build"), rest) => match parse(rest) {
            Ok(options) => run(&options),
            Err(message) => refuse(&message),
        },
        (Some("mint"), rest) => mint::main(rest),
        (Some("verify"), rest) => verify::main(rest),
        _ => refuse(&format!("{command:?} is no command here")),
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
        let path = options.out.join(&artefact.name);
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
        signing: Signing::None,
    };
    let (mut sign_key, mut sign_cert, mut sign_like) = (None, None, None);
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
            Some("--sign-key") => sign_key = Some(PathBuf::from(value)),
            Some("--sign-cert") => sign_cert = Some(PathBuf::from(value)),
            Some("--sign-like") => sign_like = Some(PathBuf::from(value)),
            Some(_) | None => return Err(format!("{flag:?} is no option of build")),
        }
    }
    options.signing = match (sign_key, sign_cert, sign_like) {
        (None, None, None) => Signing::None,
        (Some(key), Some(certificate), None) => Signing::With { key, certificate },
        (None, None, Some(file)) => Signing::Like(file),
        _ => return Err("give --sign-key and --sign-cert, or --sign-like alone".into()),
    };
    Ok(options)
}

fn refuse(message: &str) -> ExitCode {
    eprint!("image-builder: {message}\n{USAGE}");
    ExitCode::from(2)
}
