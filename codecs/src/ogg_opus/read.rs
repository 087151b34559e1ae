//! Bytes in, samples out.

use ::ogg::reading::{BasePacketReader, PageParser};
use ::opus::Channels;

use super::{CAPTURE, Head, OggOpusError, granule};

/// The longest packet that there is: 120 ms (RFC 6716 §3.2.5), at 48 kHz.
const LONGEST: usize = 5_760;

/// Decodes a file that comes piece by piece.
pub struct Decoder {
    bytes: Vec<u8>,
    packets: BasePacketReader,
    stage: Stage,
    serial: Option<[u8; 4]>,
    /// Samples a channel that are still to be skipped.
    skip: u64,
    /// Samples a channel that were given out.
    given: u64,
    /// How many there are, once the last page says so.
    all: Option<u64>,
    scratch: Vec<i16>,
}

enum Stage {
    Head,
    Tags(Head),
    Audio(Head, ::opus::Decoder),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("given", &self.given).field("all", &self.all).finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            packets: BasePacketReader::new(),
            stage: Stage::Head,
            serial: None,
            skip: 0,
            given: 0,
            all: None,
            scratch: Vec::new(),
        }
    }
}

impl Decoder {
    /// Takes the next bytes and appends the samples that are complete with them, interleaved.
    ///
    /// # Errors
    /// What comes is no file of ours, or damaged.
    pub fn push(&mut self, bytes: &[u8], samples: &mut Vec<i16>) -> Result<(), OggOpusError> {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(length) = self.page(at, samples)? {
            at += length;
        }
        self.bytes.drain(..at);
        Ok(())
    }

    /// Whether all of the stream has come.
    ///
    /// # Errors
    /// It has not.
    pub fn finish(&self) -> Result<(), OggOpusError> {
        if self.all == Some(self.given) { Ok(()) } else { Err(OggOpusError::Short) }
    }

    /// Decodes the page that begins at `at`, if all of it is there; returns its length.
    fn page(&mut self, at: usize, samples: &mut Vec<i16>) -> Result<Option<usize>, OggOpusError> {
        let Some((header, rest)) = self.bytes.get(at..).and_then(|bytes| bytes.split_first_chunk::<27>()) else {
            return Ok(None);
        };
        if !header.starts_with(CAPTURE) {
            return Err(if self.serial.is_none() { OggOpusError::NotOpus } else { OggOpusError::Page });
        }
        // One stream in a file; of a page behind its end nobody knows what it is.
        let serial = [header[14], header[15], header[16], header[17]];
        if *self.serial.get_or_insert(serial) != serial || self.all.is_some() {
            return Err(OggOpusError::Page);
        }
        let (last, granule) = (header[5] & 4 != 0, granule(header));
        let (mut parser, segments) = PageParser::new(*header).map_err(|_| OggOpusError::Page)?;
        let Some((lacing, rest)) = rest.split_at_checked(segments) else { return Ok(None) };
        let length: usize = lacing.iter().map(|&segment| usize::from(segment)).sum();
        let Some(body) = rest.get(..length) else { return Ok(None) };
        parser.parse_segments(lacing.to_vec());
        let page = parser.parse_packet_data(body.to_vec()).map_err(|_| OggOpusError::Page)?;
        self.packets.push_page(page).map_err(|_| OggOpusError::Page)?;
        if let (true, Stage::Audio(head, _)) = (last, &self.stage) {
            self.all = Some(head.frames(granule));
        }
        while let Some(packet) = self.packets.read_packet() {
            self.packet(&packet.data, samples)?;
        }
        Ok(Some(27 + segments + length))
    }

    fn packet(&mut self, packet: &[u8], samples: &mut Vec<i16>) -> Result<(), OggOpusError> {
        match &mut self.stage {
            Stage::Head => self.stage = Stage::Tags(Head::parse(packet)?),
            Stage::Tags(head) => {
                let layout = if head.channels == 2 { Channels::Stereo } else { Channels::Mono };
                let decoder = ::opus::Decoder::new(head.rate, layout).map_err(|_| OggOpusError::NotOpus)?;
                self.skip = u64::from(head.pre_skip) / head.granules_a_sample();
                self.scratch.resize(LONGEST * usize::from(head.channels), 0);
                self.stage = Stage::Audio(*head, decoder);
            }
            Stage::Audio(head, decoder) => {
                let decoded = decoder.decode(packet, &mut self.scratch, false).map_err(|_| OggOpusError::Packet)?;
                let skipped = self.skip.min(decoded as u64);
                self.skip -= skipped;
                // The last packet holds more than the file has.
                let left = self.all.map_or(u64::MAX, |all| all.saturating_sub(self.given));
                let given = (decoded as u64 - skipped).min(left);
                self.given += given;
                let channels = usize::from(head.channels);
                let (from, to) = (skipped as usize * channels, (skipped + given) as usize * channels);
                samples.extend_from_slice(&self.scratch[from..to]);
            }
        }
        Ok(())
    }
}
