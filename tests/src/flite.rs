//! The voice of flite, made apart from the server: what a caller says, and what an agent should have sounded like.

use std::path::Path;
use std::process::Command;

use codecs::resample::Down2;
use codecs::wav::Reader;

/// Says `words` in a 16 kHz voice (`slt`, `rms`, `awb`); 8 kHz samples. `dir` is for a file on the way.
#[must_use]
pub fn say(dir: &Path, voice: &str, words: &str) -> Vec<i16> {
    let file = dir.join("flite.wav");
    let done = Command::new("flite").args(["-voice", voice, "-t", words, "-o"]).arg(&file).status();
    let done = done.unwrap_or_else(|error| panic!("flite: {error}; Debian has it in flite"));
    assert!(done.success(), "flite: {done}");
    let spoken = Reader::parse(&std::fs::read(&file).expect("flite has written its file")).expect("flite writes WAV");
    assert_eq!(spoken.rate, 16_000, "voice {voice} of flite");
    let mut samples = Vec::with_capacity(spoken.samples.len() / 2);
    Down2::new().process(&spoken.samples, &mut samples);
    samples
}
