//! The fuzz corpus, replayed without a fuzzer: whatever was once found stays found.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};

mod look;

fn files(folder: PathBuf) -> Vec<Vec<u8>> {
    let listing = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files: Vec<_> = listing.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn messages() {
    for folder in ["../fuzz/corpus/message", "tests/torture/rfc4475", "tests/torture/rfc5118"] {
        for bytes in files(root().join(folder)) {
            look::message(&bytes);
            look::message(String::from_utf8_lossy(&bytes).replace('\n', "\r\n").as_bytes());
            // Cut anywhere, it is still harmless.
            for end in (0..bytes.len()).step_by(7) {
                look::message(&bytes[..end]);
            }
        }
    }
}

#[test]
fn descriptions() {
    files(root().join("../fuzz/corpus/sdp")).iter().for_each(|bytes| look::sdp(bytes));
}

#[test]
fn uris() {
    for bytes in files(root().join("../fuzz/corpus/uri")) {
        for line in bytes.split(|byte| *byte == b'\n') {
            look::uri(line);
        }
    }
}
