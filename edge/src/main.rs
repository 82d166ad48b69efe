//! The reference service edge; see `edge --help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    edge::cli::main()
}
