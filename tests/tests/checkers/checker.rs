//! Those who look at an OVA. Each is a program of someone else's, or a reader of ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use disk_format::vmdk::Vmdk;
use image_builder::ova::Ova;
use image_builder::sign;
use ovf::certificate::Certificate;
use ovf::descriptor::Descriptor;
use tests::folders;

use crate::package::Package;

/// Someone who looks at an OVA.
#[derive(Debug)]
pub struct Checker {
    /// As the table of mutants calls it.
    pub name: &'static str,
    /// Why it cannot look here.
    pub missing: fn() -> Option<String>,
    /// Looks at a package that was written to a folder; what it complains about.
    pub check: fn(&Package, &Path) -> Result<(), String>,
}

/// All of them.
pub const CHECKERS: &[Checker] = &[
    of("xmllint", || lacks("xmllint", "libxml2-utils"), xmllint),
    of("descriptor", || None, descriptor),
    of("virt-v2v", || lacks("virt-v2v", "virt-v2v"), virt_v2v),
    of("govmomi", govmomi_is_missing, govmomi),
    of(
        "qemu-img check",
        || lacks("qemu-img", "qemu-utils"),
        qemu_img_check,
    ),
    of(
        "qemu-img compare",
        || lacks("qemu-img", "qemu-utils"),
        qemu_img_compare,
    ),
    of("stream walk", || None, stream_walk),
    of("tar", || lacks("tar", "tar"), gnu_tar),
    of("sha256sum", || lacks("sha256sum", "coreutils"), sha256sum),
    of("openssl", signer_is_missing, openssl),
    of("ova", || None, ova),
];

/// Order of elements and types of values.
fn xmllint(_: &Package, folder: &Path) -> Result<(), String> {
    let mut command = program("xmllint");
    command
        .args(["--nonet", "--noout", "--schema"])
        .arg(schema()?);
    run(command.arg(Package::path(folder, "ovf"))).map(drop)
}

/// What a schema cannot say: references, identifiers, the MAC.
fn descriptor(package: &Package, _: &Path) -> Result<(), String> {
    let read = Descriptor::parse(package.file("ovf")).map_err(|error| error.to_string())?;
    same("the MAC", read.mac, package.mac)
}

/// What a migration off VMware reads: digests, firmware, disk, NIC and MAC.
fn virt_v2v(package: &Package, folder: &Path) -> Result<(), String> {
    let mut command = program("virt-v2v");
    command
        .env("LC_ALL", "C")
        .env("LIBGUESTFS_CACHEDIR", folder);
    command
        .args(["-i", "ova"])
        .arg(Package::path(folder, "ova"))
        .arg("--print-source");
    let said = run(&mut command)?;
    let mac = package
        .mac
        .map_or(String::new(), |mac| format!(" mac: {mac}"));
    let wanted = [
        "firmware: uefi".into(),
        "0 [scsi]".into(),
        format!("\"VM Network\"{mac} [vmxnet3]"),
    ];
    let lacking = wanted.into_iter().find(|line| !said.contains(line));
    lacking.map_or(Ok(()), |line| Err(format!("{line:?} is not in {said}")))
}

/// What govc, Terraform and Packer do: see `import.go`.
fn govmomi(_: &Package, folder: &Path) -> Result<(), String> {
    let said = run(program(&importer()?).arg(Package::path(folder, "ova")))?;
    let wanted = [
        "guest other5xLinux64Guest",
        "version vmx-19",
        "scsi pvscsi",
        "nic vmxnet3",
    ];
    let lacking = wanted
        .into_iter()
        .find(|wanted| !said.lines().any(|line| line == *wanted));
    lacking.map_or(Ok(()), |line| Err(format!("{line:?} is not in {said}")))
}

/// Grain tables that point into the file.
fn qemu_img_check(_: &Package, folder: &Path) -> Result<(), String> {
    run(program("qemu-img")
        .args(["check", "-f", "vmdk"])
        .arg(Package::path(folder, "vmdk")))
    .map(drop)
}

/// The same disk, of the same length.
fn qemu_img_compare(_: &Package, folder: &Path) -> Result<(), String> {
    let mut command = program("qemu-img");
    command.args(["compare", "-f", "vmdk", "-F", "raw"]);
    command
        .arg(Package::path(folder, "vmdk"))
        .arg(Package::path(folder, "raw"));
    // A longer disk whose surplus is zeros is a warning and no failure.
    let said = run(&mut command)?;
    same("what it says", said.trim(), "Images are identical.")
}

/// The VMDK as one reads it that cannot seek: every part where it must be, down to the last sector.
fn stream_walk(package: &Package, _: &Path) -> Result<(), String> {
    let read = Vmdk::parse(package.file("vmdk")).and_then(|vmdk| vmdk.to_disk());
    let is_same = read.map_err(|error| error.to_string())? == package.disk;
    same("the disk is as it was", is_same, true)
}

/// The files in the order of DSP0243 section 5.3, ordinary and nobody's.
fn gnu_tar(_: &Package, folder: &Path) -> Result<(), String> {
    let mut command = program("tar");
    command.args(["--list", "--verbose", "--numeric-owner", "--utc", "--file"]);
    let said = run(command.arg(Package::path(folder, "ova")))?;
    let mut order = Vec::new();
    for line in said.lines() {
        same(
            "an ordinary file of nobody's",
            line.starts_with("-rw-r--r-- 0/0 "),
            true,
        )?;
        order.push(line.rsplit('.').next().unwrap_or_default());
    }
    let is_good = [&["ovf", "mf", "vmdk"][..], &["ovf", "mf", "cert", "vmdk"]].contains(&&*order);
    same(
        "the order is descriptor, manifest, signature, disk",
        is_good,
        true,
    )
}

/// Every digest, by two programs that know nothing of OVAs.
fn sha256sum(_: &Package, folder: &Path) -> Result<(), String> {
    let to = folder.join("unpacked");
    std::fs::create_dir_all(&to).map_err(|error| error.to_string())?;
    run(program("tar")
        .arg("--extract")
        .arg("--file")
        .arg(Package::path(folder, "ova"))
        .arg("-C")
        .arg(&to))?;
    let mut manifest = None;
    let mut digested = Vec::new();
    for file in std::fs::read_dir(&to)
        .unwrap()
        .map(|file| file.unwrap().path())
    {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("mf") => manifest = Some(file),
            Some("cert") => {}
            _ => digested.push(file),
        }
    }
    let manifest = manifest.ok_or("there is no manifest")?;
    let said = run(program("sha256sum")
        .current_dir(&to)
        .args(["--check", "--strict"])
        .arg(manifest))?;
    let is_good = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        said.lines().any(|line| line == format!("{name}: OK"))
    };
    let without = digested.iter().find(|file| !is_good(file));
    without.map_or(Ok(()), |file| {
        Err(format!("{} has no digest", file.display()))
    })
}

/// The signature, where there is one.
fn openssl(package: &Package, folder: &Path) -> Result<(), String> {
    let text = package.file("cert");
    if text.is_empty() {
        return Ok(());
    }
    let pem_at = text
        .windows(5)
        .position(|bytes| bytes == b"-----")
        .ok_or("no certificate")?;
    let certificate = Certificate::parse(text).map_err(|error| error.to_string())?;
    let write = |name, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let pem = write("pem", &text[pem_at..]);
    let public = run(program("openssl")
        .args(["x509", "-pubkey", "-noout", "-in"])
        .arg(pem))?;
    let mut command = program("openssl");
    command
        .args(["dgst", "-sha256", "-verify"])
        .arg(write("public", public.as_bytes()));
    command
        .arg("-signature")
        .arg(write("signature", &certificate.signature));
    run(command.arg(Package::path(folder, "mf"))).map(drop)
}

/// What `cargo image verify` reads an OVA with.
fn ova(package: &Package, _: &Path) -> Result<(), String> {
    let read = Ova::parse(&package.archive).map_err(|error| error.to_string())?;
    same("the MAC", read.descriptor.mac, package.mac)?;
    let Some(certificate) = read.certificate else {
        return Ok(());
    };
    let signature = sign::verify(&certificate, &format!("{}.mf", read.name), &read.manifest);
    signature.map(drop).map_err(|error| error.to_string())
}

/// The schema of OVF 1.1.1 is the DMTF's and is not in this repository: it is looked for beside the checkout.
pub fn schema() -> Result<PathBuf, String> {
    let beside = folders::checkout().join("../shared/ovf-xsd/dsp8023_1.1.1.xsd");
    if beside.is_file() {
        return Ok(beside);
    }
    Err("the OVF schema is not beside the checkout (../shared/ovf-xsd/dsp8023_1.1.1.xsd)".into())
}

fn govmomi_is_missing() -> Option<String> {
    let library = Path::new(GO_PATH).join("src/github.com/vmware/govmomi/simulator");
    let lacks_library = || {
        format!(
            "{} is missing (golang-github-vmware-govmomi-dev)",
            library.display()
        )
    };
    (!library.is_dir())
        .then(lacks_library)
        .or_else(|| lacks("go", "golang-go"))
}

/// The compiled `import.go`; compiled once, with what was compiled before kept in the target folder.
fn importer() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        let folder = folders::target().join("checkers");
        std::fs::create_dir_all(&folder).unwrap();
        let executable = folder.join("import");
        let mut command = Command::new("go");
        command
            .env("GO111MODULE", "off")
            .env("GOPATH", GO_PATH)
            .env("GOFLAGS", "");
        command.env("GOCACHE", folder.join("go"));
        command.arg("build").arg("-o").arg(&executable);
        run(command.arg(folders::checkout().join("tests/tests/checkers/import.go")))?;
        Ok(executable)
    };
    BUILT.get_or_init(build).clone()
}

/// Where Debian keeps the sources of Go libraries.
const GO_PATH: &str = "/usr/share/gocode";

/// A program that is ended when it hangs.
fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(name);
    command
}

/// What `command` printed, or all that it said when it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let complained = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} {said}{complained}", output.status))
}

/// What the key of the signed OVA is made with.
pub fn signer_is_missing() -> Option<String> {
    lacks("openssl", "openssl")
}

fn lacks(program: &str, package: &str) -> Option<String> {
    let runs = Command::new(program).arg("--version").output().is_ok();
    (!runs).then(|| format!("{program} is not installed ({package})"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, should be {wanted:?}"))
}

const fn of(
    name: &'static str,
    missing: fn() -> Option<String>,
    check: fn(&Package, &Path) -> Result<(), String>,
) -> Checker {
    Checker {
        name,
        missing,
        check,
    }
}
