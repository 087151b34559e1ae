//! Ogg Opus files (RFC 7845) of telephone audio: a writer that takes samples, and a decoder that takes bytes as they come.
//!
//! A file of `n` samples a channel gives exactly `n` back: the encoder's delay is declared as pre-skip, what fills the last packet
//! is trimmed by the last page's granule position (RFC 7845 §4.4, §4.5). Both hold a second of audio at most.

mod read;
mod write;

pub use read::Decoder;
pub use write::Writer;

/// Granule positions and the pre-skip count at this rate whatever the audio's own (RFC 7845 §4).
const GRANULES: u32 = 48_000;
/// Bytes of the first page: the header of a page with one segment, and an `OpusHead` of mapping family 0.
pub const HEAD_BYTES: usize = 28 + HEAD;
/// Bytes that hold the last page whatever is in it, and so [`last_granule`]: a page has 255 segments of 255 bytes at most.
pub const TAIL_BYTES: usize = 27 + 255 + 255 * 255;

/// Bytes of an `OpusHead` of mapping family 0.
const HEAD: usize = 19;
/// What a page begins with (RFC 3533 §6).
const CAPTURE: &[u8; 4] = b"OggS";

/// Why bytes are not a file that can be played here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OggOpusError {
    /// Not Ogg, or not Opus in it, or of a later kind.
    #[error("not an Ogg Opus file of one or two channels")]
    NotOpus,
    /// A page that does not follow, or whose checksum does not fit.
    #[error("a page is damaged")]
    Page,
    /// A packet that the codec refuses.
    #[error("a packet is damaged")]
    Packet,
    /// The stream does not end before its bytes do.
    #[error("the file is cut short")]
    Short,
}

/// The identification header (RFC 7845 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// One or two.
    pub channels: u16,
    /// Samples at 48 kHz and channel that come out of the decoder before the audio.
    pub pre_skip: u16,
    /// Samples a second and channel of what was encoded; it is decoded at the same rate, where the codec has it.
    pub rate: u32,
}

impl Head {
    /// Reads it from the first [`HEAD_BYTES`] of a file.
    ///
    /// # Errors
    /// It is something else.
    pub fn of_file(first: &[u8; HEAD_BYTES]) -> Result<Self, OggOpusError> {
        // One segment, as long as the header, on the first page of a stream.
        let page = first.starts_with(CAPTURE) && first[5] & 2 != 0 && first[26] == 1 && usize::from(first[27]) == HEAD;
        if page { Self::parse(&first[28..]) } else { Err(OggOpusError::NotOpus) }
    }

    fn parse(packet: &[u8]) -> Result<Self, OggOpusError> {
        let packet: &[u8; HEAD] = packet.try_into().map_err(|_| OggOpusError::NotOpus)?;
        let [.., low, high] = [packet[10], packet[11]];
        let rate = u32::from_le_bytes([packet[12], packet[13], packet[14], packet[15]]);
        let channels = u16::from(packet[9]);
        // Versions below 16 are compatible with ours (§5.1); other mappings have more than one stream of packets.
        let ours = packet.starts_with(b"OpusHead") && packet[8] < 16 && packet[18] == 0 && (1..=2).contains(&channels);
        if !ours {
            return Err(OggOpusError::NotOpus);
        }
        let known = [8_000, 12_000, 16_000, 24_000, GRANULES].contains(&rate);
        Ok(Self { channels, pre_skip: u16::from_le_bytes([low, high]), rate: if known { rate } else { GRANULES } })
    }

    fn bytes(self) -> [u8; HEAD] {
        let mut packet = [0; HEAD];
        packet[..8].copy_from_slice(b"OpusHead");
        packet[8] = 1;
        packet[9] = self.channels as u8;
        packet[10..12].copy_from_slice(&self.pre_skip.to_le_bytes());
        packet[12..16].copy_from_slice(&self.rate.to_le_bytes());
        // No gain, mapping family 0: a stream of one or two channels, left first.
        packet
    }

    /// Samples a channel of a file whose last page has this granule position.
    #[must_use]
    pub fn frames(self, last_granule: u64) -> u64 {
        last_granule.saturating_sub(u64::from(self.pre_skip)) / self.granules_a_sample()
    }

    fn granules_a_sample(self) -> u64 {
        u64::from(GRANULES / self.rate)
    }
}

/// The granule position of the last page, from the last [`TAIL_BYTES`] of a file, or all of a shorter one; none if the stream does not
/// end there.
#[must_use]
pub fn last_granule(tail: &[u8]) -> Option<u64> {
    (0..tail.len()).rev().find_map(|at| {
        let page = tail.get(at..).filter(|page| page.starts_with(CAPTURE))?;
        let (header, rest) = page.split_first_chunk::<27>()?;
        let (lacing, body) = rest.split_at_checked(usize::from(header[26]))?;
        let length: usize = lacing.iter().map(|&segment| usize::from(segment)).sum();
        (body.len() == length && header[5] & 4 != 0).then(|| granule(header))
    })
}

fn granule(page: &[u8; 27]) -> u64 {
    let mut granule = [0; 8];
    granule.copy_from_slice(&page[6..14]);
    u64::from_le_bytes(granule)
}

#[cfg(test)]
mod tests;
