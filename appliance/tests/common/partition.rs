//! A state partition for a connector under test.

use std::fs::{File, OpenOptions};
use std::thread;

/// A blank one, in a file without a name.
pub fn blank() -> File {
    let id = format!("{:?}", thread::current().id());
    let path = std::env::temp_dir().join(format!("outgate-state-{}-{id}", std::process::id()));
    std::fs::write(&path, vec![0; 1024 * 1024]).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file
}
