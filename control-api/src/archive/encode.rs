//! A WAV file becomes an Ogg Opus file, piece by piece, under a name of its own until it is whole.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use codecs::{ogg_opus::Writer, wav::Head};
use md5::Digest as _;
use sha2::Sha256;

/// Seconds of audio that are encoded in one go: some milliseconds of work.
const SECONDS: u64 = 4;

/// Why a file was not encoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeFault {
    /// It may work later.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nobody has that file.
    #[error("the file is not on this node")]
    Missing,
    /// It is another one than the recorder described.
    #[error("the file is not what was recorded; it stays as it is")]
    Differs,
    /// It is whole, but not as the recorder writes.
    #[error("the file is no plain WAV; it stays as it is")]
    NoWav,
}

/// What a file should be, or is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A file that is being encoded. Dropped before its end it leaves nothing behind.
pub(super) struct Encoding {
    from: BufReader<File>,
    head: Head,
    left: u64,
    read: Sha256,
    length: u64,
    to: Writer<Summed>,
    part: Part,
}

impl Encoding {
    /// Opens both files; `serial` names the stream.
    pub(super) fn open(wav: &Path, part: PathBuf, serial: u32) -> Result<Self, EncodeFault> {
        let file = File::open(wav).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => EncodeFault::Missing,
            _ => EncodeFault::Io(error),
        })?;
        let length = file.metadata()?.len();
        let (mut from, mut header) = (BufReader::new(file), [0; Head::BYTES]);
        from.read_exact(&mut header).map_err(|_| EncodeFault::NoWav)?;
        let head = Head::parse(&header, length).ok_or(EncodeFault::NoWav)?;
        if let Some(folder) = part.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let part = Part(Some(part));
        let file = Summed { file: BufWriter::new(File::create(part.path())?), sum: Sha256::new(), bytes: 0 };
        let to = Writer::new(file, serial, head.rate, head.channels).map_err(|error| match error.kind() {
            // The codec does not have such a rate.
            io::ErrorKind::Other => EncodeFault::NoWav,
            _ => EncodeFault::Io(error),
        })?;
        let left = u64::from(head.data_bytes);
        Ok(Self { from, head, left, read: Sha256::new_with_prefix(header), length, to, part })
    }

    /// Encodes the next seconds; false when there are none. A file that was deleted meanwhile is missing.
    pub(super) fn step(&mut self) -> Result<bool, EncodeFault> {
        if self.from.get_ref().metadata()?.nlink() == 0 {
            return Err(EncodeFault::Missing);
        }
        let second = u64::from(self.head.rate) * u64::from(self.head.channels) * 2;
        let mut bytes = vec![0; usize::try_from((SECONDS * second).min(self.left)).unwrap_or_default()];
        self.from.read_exact(&mut bytes)?;
        self.left -= bytes.len() as u64;
        self.read.update(&bytes);
        let samples: Vec<i16> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        self.to.write(&samples)?;
        Ok(self.left > 0)
    }

    /// Completes the file and gives it its name, if what was read is `expected`.
    pub(super) fn finish(mut self, expected: &Described, name: &Path) -> Result<Described, EncodeFault> {
        // What a killed recorder wrote behind the length in the header belongs to the checksum, too.
        let mut behind = vec![0; super::CHUNK];
        loop {
            match self.from.read(&mut behind)? {
                0 => break,
                read => self.read.update(&behind[..read]),
            }
        }
        let read = Described { bytes: self.length, sha256: crate::seal::hex(&self.read.finalize()) };
        if read != *expected {
            return Err(EncodeFault::Differs);
        }
        let Summed { file, sum, bytes } = self.to.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(self.part.path(), name)?;
        self.part.0 = None;
        if let Some(folder) = name.parent() {
            // Without it the name could be gone after a loss of power, and the WAV file with it.
            File::open(folder)?.sync_all()?;
        }
        Ok(Described { bytes, sha256: crate::seal::hex(&sum.finalize()) })
    }
}

/// A file on its way to the disk, and its checksum.
struct Summed {
    file: BufWriter<File>,
    sum: Sha256,
    bytes: u64,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that goes unless it got its name.
struct Part(Option<PathBuf>);

impl Part {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sidetone-encode-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn described(file: &[u8]) -> Described {
        Described { bytes: file.len() as u64, sha256: crate::seal::hex(&Sha256::digest(file)) }
    }

    fn all(mut encoding: Encoding, expected: &Described, name: &Path) -> Result<Described, EncodeFault> {
        while encoding.step()? {}
        encoding.finish(expected, name)
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_whole_and_leaves_nothing_before() {
        let folder = folder("name");
        let (wav, part, ogg) = (folder.join("a.wav"), folder.join("parts/a"), folder.join("a.ogg"));
        let mut file = Head { rate: 8000, channels: 2, data_bytes: 320_000 }.bytes().to_vec();
        file.extend((0..320_000_u32).map(|n| (n.wrapping_mul(n) >> 9) as u8));
        std::fs::write(&wav, &file).unwrap();
        // Broken off in the middle.
        let mut half = Encoding::open(&wav, part.clone(), 1).unwrap();
        assert!(half.step().unwrap() && part.exists());
        drop(half);
        assert!(!part.exists() && !ogg.exists());
        // Deleted in the middle.
        let mut gone = Encoding::open(&wav, part.clone(), 1).unwrap();
        std::fs::remove_file(&wav).unwrap();
        assert!(matches!(gone.step(), Err(EncodeFault::Missing)));
        drop(gone);
        std::fs::write(&wav, &file).unwrap();
        // Another file than was recorded.
        let other = Described { bytes: 320_044, sha256: "ab".repeat(32) };
        let refused = all(Encoding::open(&wav, part.clone(), 1).unwrap(), &other, &ogg);
        assert!(matches!(refused, Err(EncodeFault::Differs)) && !part.exists() && !ogg.exists());
        let made = all(Encoding::open(&wav, part.clone(), 1).unwrap(), &described(&file), &ogg).unwrap();
        assert!(!part.exists());
        assert_eq!(made, described(&std::fs::read(&ogg).unwrap()));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_killed_recorder_left_is_encoded_as_far_as_its_header_says() {
        let folder = folder("killed");
        let (wav, ogg) = (folder.join("a.wav"), folder.join("a.ogg"));
        let mut file = Head { rate: 8000, channels: 2, data_bytes: 3200 }.bytes().to_vec();
        file.extend([7; 4001]);
        std::fs::write(&wav, &file).unwrap();
        all(Encoding::open(&wav, folder.join("part"), 1).unwrap(), &described(&file), &ogg).unwrap();
        let (mut decoder, mut samples) = (codecs::ogg_opus::Decoder::default(), Vec::new());
        decoder.push(&std::fs::read(&ogg).unwrap(), &mut samples).unwrap();
        assert_eq!(samples.len(), 1600);
        assert!(matches!(Encoding::open(&folder.join("b.wav"), folder.join("part"), 1), Err(EncodeFault::Missing)));
        std::fs::write(&wav, b"RIFF").unwrap();
        assert!(matches!(Encoding::open(&wav, folder.join("part"), 1), Err(EncodeFault::NoWav)));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
