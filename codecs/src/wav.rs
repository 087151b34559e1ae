//! RIFF/WAVE files of 16-bit PCM: a streaming writer that survives a killed process, and a tolerant parser.

use std::io::{self, Seek, SeekFrom, Write};

const HEADER: u32 = 44;

/// Writes a WAV file piece by piece. The header is valid from the start and true after every [`Writer::flush`].
#[derive(Debug)]
pub struct Writer<W: Write + Seek> {
    inner: W,
    data_bytes: u32,
    scratch: Vec<u8>,
}

impl<W: Write + Seek> Writer<W> {
    /// Starts a file of `rate` samples a second and channel, with one or two interleaved channels.
    pub fn new(mut inner: W, rate: u32, channels: u16) -> io::Result<Self> {
        if !(1..=2).contains(&channels) || rate == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a recording has one or two channels and a rate"));
        }
        let header = Head { rate, channels, data_bytes: 0 }.bytes();
        inner.write_all(&header)?;
        Ok(Writer { inner, data_bytes: 0, scratch: Vec::new() })
    }

    /// Appends samples; two channels are interleaved, left first.
    pub fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        let more = u32::try_from(samples.len() * 2).ok();
        let total = more.and_then(|more| self.data_bytes.checked_add(more)).filter(|&n| n <= u32::MAX - HEADER);
        let Some(total) = total else {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a WAV file ends at four gigabytes"));
        };
        self.scratch.clear();
        for sample in samples {
            self.scratch.extend_from_slice(&sample.to_le_bytes());
        }
        self.inner.write_all(&self.scratch)?;
        self.data_bytes = total;
        Ok(())
    }

    /// Makes the header tell the truth about what was written so far and hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        let end = self.inner.stream_position()?;
        self.inner.seek(SeekFrom::Start(4))?;
        self.inner.write_all(&(self.data_bytes + HEADER - 8).to_le_bytes())?;
        self.inner.seek(SeekFrom::Start(40))?;
        self.inner.write_all(&self.data_bytes.to_le_bytes())?;
        self.inner.seek(SeekFrom::Start(end))?;
        self.inner.flush()
    }

    /// Flushes and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.inner)
    }
}

/// The plain header that [`Writer`] writes, for files that are read piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Samples a second and channel.
    pub rate: u32,
    /// One or two.
    pub channels: u16,
    /// Bytes of samples behind it.
    pub data_bytes: u32,
}

impl Head {
    /// Bytes of it.
    pub const BYTES: usize = HEADER as usize;

    /// Reads it from a file of `length` bytes; none if that begins otherwise. Like [`Reader`] it takes a data length of zero for "until
    /// the end", and never more than there is.
    #[must_use]
    pub fn parse(header: &[u8; Self::BYTES], length: u64) -> Option<Self> {
        let (head, size) = header.split_last_chunk::<4>()?;
        let (rate, channels) = parse_format(&head[20..36]).ok()?;
        let plain = &head[..4] == b"RIFF" && &head[8..16] == b"WAVEfmt " && &head[36..] == b"data";
        let there = u32::try_from(length.saturating_sub(u64::from(HEADER))).unwrap_or(u32::MAX);
        let said = u32::from_le_bytes(*size);
        let data_bytes = if said == 0 { there } else { said.min(there) };
        let head = Self { rate, channels, data_bytes: 0 };
        plain.then_some(Self { data_bytes: data_bytes / head.block() * head.block(), ..head })
    }

    /// The header itself.
    #[must_use]
    pub fn bytes(self) -> [u8; Self::BYTES] {
        let mut header = [0; Self::BYTES];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RIFF");
        put(4, &self.data_bytes.saturating_add(HEADER - 8).to_le_bytes());
        put(8, b"WAVEfmt ");
        put(16, &16u32.to_le_bytes());
        put(20, &1u16.to_le_bytes());
        put(22, &self.channels.to_le_bytes());
        put(24, &self.rate.to_le_bytes());
        put(28, &self.rate.saturating_mul(self.block()).to_le_bytes());
        put(32, &(self.channels * 2).to_le_bytes());
        put(34, &16u16.to_le_bytes());
        put(36, b"data");
        put(40, &self.data_bytes.to_le_bytes());
        header
    }

    /// Samples a channel.
    #[must_use]
    pub fn frames(self) -> u64 {
        u64::from(self.data_bytes / self.block())
    }

    /// Bytes of one sample of all channels.
    fn block(self) -> u32 {
        u32::from(self.channels) * 2
    }
}

/// Why bytes are not a WAV file that can be played here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// No RIFF/WAVE signature.
    #[error("not a RIFF/WAVE file")]
    NotWav,
    /// A chunk is missing or cut short.
    #[error("the {0} chunk is missing or cut short")]
    Missing(&'static str),
    /// Compressed, not 16 bits, or more than two channels.
    #[error("only 16-bit PCM with one or two channels is understood")]
    Unsupported,
}

/// A parsed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second and channel.
    pub rate: u32,
    /// One or two.
    pub channels: u16,
    /// Interleaved samples.
    pub samples: Vec<i16>,
}

impl Wav {
    /// One channel's samples; empty when there is no such channel.
    pub fn channel(&self, index: u16) -> Vec<i16> {
        if index >= self.channels {
            return Vec::new();
        }
        self.samples.iter().skip(index as usize).step_by(self.channels as usize).copied().collect()
    }
}

/// Parses WAV bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader;

impl Reader {
    /// Reads a whole file. A data length of zero or beyond the end means "until the end", as in files of killed recorders.
    pub fn parse(bytes: &[u8]) -> Result<Wav, WavError> {
        if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
            return Err(WavError::NotWav);
        }
        let mut rest = &bytes[12..];
        let mut format: Option<(u32, u16)> = None;
        while let Some((name, length, body)) = chunk(rest) {
            match name {
                b"fmt " => format = Some(parse_format(body.get(..length).ok_or(WavError::Missing("fmt"))?)?),
                b"data" => {
                    let (rate, channels) = format.ok_or(WavError::Missing("fmt"))?;
                    let length = if length == 0 { body.len() } else { length.min(body.len()) };
                    let block = usize::from(channels) * 2;
                    let whole = length / block * block;
                    let samples = body[..whole].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
                    return Ok(Wav { rate, channels, samples });
                }
                _ => {}
            }
            // Chunks are padded to an even length.
            let Some(next) = body.get(length + (length & 1)..) else { break };
            rest = next;
        }
        Err(WavError::Missing(if format.is_some() { "data" } else { "fmt" }))
    }
}

/// Name, announced length and everything behind the head of the next chunk.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], usize, &[u8])> {
    let (name, rest) = bytes.split_first_chunk::<4>()?;
    let (length, body) = rest.split_first_chunk::<4>()?;
    Some((name, usize::try_from(u32::from_le_bytes(*length)).ok()?, body))
}

fn parse_format(body: &[u8]) -> Result<(u32, u16), WavError> {
    let field = |at: usize| body.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(mut kind), Some(channels), Some(low), Some(high), Some(bits)) =
        (field(0), field(2), field(4), field(6), field(14))
    else {
        return Err(WavError::Missing("fmt"));
    };
    // WAVE_FORMAT_EXTENSIBLE carries the true kind at the head of its sub-format.
    if kind == 0xFFFE {
        kind = field(24).ok_or(WavError::Missing("fmt"))?;
    }
    let rate = u32::from(high) << 16 | u32::from(low);
    if kind != 1 || bits != 16 || !(1..=2).contains(&channels) || rate == 0 {
        return Err(WavError::Unsupported);
    }
    Ok((rate, channels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new(Cursor::new(Vec::new()), 8000, 2).unwrap();
        writer.write(&[1, -1, 2, -2]).unwrap();
        writer.flush().unwrap();
        writer.write(&[3, -3]).unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        let wav = Reader::parse(&bytes).unwrap();
        assert_eq!(wav, Wav { rate: 8000, channels: 2, samples: vec![1, -1, 2, -2, 3, -3] });
        assert_eq!(wav.channel(0), [1, 2, 3]);
        assert_eq!(wav.channel(1), [-1, -2, -3]);
        assert!(wav.channel(2).is_empty());
        assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize, bytes.len() - 8);
    }

    #[test]
    fn a_file_of_a_killed_process_plays() {
        let mut writer = Writer::new(Cursor::new(Vec::new()), 8000, 1).unwrap();
        writer.write(&[5; 100]).unwrap();
        // Killed before the first flush: the header still says nothing, the data is there.
        assert_eq!(Reader::parse(writer.inner.get_ref()).unwrap().samples.len(), 100);
        writer.flush().unwrap();
        writer.write(&[6; 50]).unwrap();
        // Killed after a flush: at least what was flushed.
        assert_eq!(Reader::parse(writer.inner.get_ref()).unwrap().samples, [5; 100]);
    }

    #[test]
    fn the_plain_header_is_read_by_itself() {
        let mut writer = Writer::new(Cursor::new(Vec::new()), 8000, 2).unwrap();
        writer.write(&[5; 100]).unwrap();
        let killed = writer.inner.get_ref().clone();
        let file = writer.finish().unwrap().into_inner();
        let head = |file: &[u8], length: usize| Head::parse(file[..44].try_into().unwrap(), length as u64);
        let whole = Head { rate: 8000, channels: 2, data_bytes: 200 };
        assert_eq!((head(&file, file.len()), whole.frames(), &whole.bytes()[..]), (Some(whole), 50, &file[..44]));
        // Killed before the first flush, cut short, and something behind it.
        assert_eq!(head(&killed, killed.len()), Some(whole));
        assert_eq!(head(&file, 44 + 41).map(Head::frames), Some(10));
        assert_eq!(head(&file, 300), Some(whole));
        let mut other = file.clone();
        other[20] = 7;
        assert_eq!((head(&other, 244), head(&[0; 44], 244)), (None, None));
    }

    #[test]
    fn unknown_chunks_are_skipped_and_strange_formats_refused() {
        let mut bytes = Writer::new(Cursor::new(Vec::new()), 16_000, 1).unwrap().finish().unwrap().into_inner();
        let mut with_list = bytes[..36].to_vec();
        with_list.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        with_list.extend_from_slice(b"data\x04\0\0\0\x01\0\x02\0");
        assert_eq!(Reader::parse(&with_list).unwrap().samples, [1, 2]);
        bytes[20] = 7;
        assert_eq!(Reader::parse(&bytes), Err(WavError::Unsupported));
        assert_eq!(Reader::parse(b"RIFF"), Err(WavError::NotWav));
        assert_eq!(Reader::parse(&with_list[..36]), Err(WavError::Missing("data")));
        assert!(Writer::new(Cursor::new(Vec::new()), 8000, 3).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), riff: bool) {
            if riff && bytes.len() >= 12 {
                bytes[..4].copy_from_slice(b"RIFF");
                bytes[8..12].copy_from_slice(b"WAVE");
            }
            let _ = Reader::parse(&bytes);
        }
    }
}
