//! Samples in, pages out.

use std::io::{self, Write};

use ::ogg::{PacketWriteEndInfo, PacketWriter};
use ::opus::{Application, Bitrate, Channels, Encoder, Signal};

use super::{GRANULES, Head};

/// Packets a second: each has 20 ms.
const PACKETS: u32 = 50;
/// Of both channels together.
const BITRATE: i32 = 32_000;
/// Of 10. Above this telephone speech at this bit rate gains nothing that is heard, and costs half as much again.
const COMPLEXITY: i32 = 3;
/// No packet is longer (RFC 6716 §3.4); ours are a tenth of it.
const LONGEST: usize = 1_275;

/// Writes a file piece by piece. The same samples and serial number give the same file.
pub struct Writer<W: Write> {
    ogg: PacketWriter<'static, W>,
    opus: Encoder,
    head: Head,
    serial: u32,
    /// Less than a packet of samples, interleaved.
    waiting: Vec<i16>,
    packets: u64,
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("head", &self.head).field("packets", &self.packets).finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Starts a file of `rate` (8, 12, 16, 24 or 48 kHz) samples a second and channel, with one or two interleaved channels. The serial
    /// number names the stream inside the file.
    ///
    /// # Errors
    /// A rate that Opus does not have, or what the sink says.
    pub fn new(inner: W, serial: u32, rate: u32, channels: u16) -> io::Result<Self> {
        let layout = match channels {
            1 => Channels::Mono,
            2 => Channels::Stereo,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a recording has one or two channels")),
        };
        let mut opus = Encoder::new(rate, layout, Application::Voip).map_err(refused)?;
        opus.set_bitrate(Bitrate::Bits(BITRATE)).map_err(refused)?;
        opus.set_complexity(COMPLEXITY).map_err(refused)?;
        opus.set_vbr(true).map_err(refused)?;
        opus.set_signal(Signal::Voice).map_err(refused)?;
        // The sides are two people: they stay two whatever the encoder thinks of it.
        opus.set_force_channels(Some(layout)).map_err(refused)?;
        let delay = u32::try_from(opus.get_lookahead().map_err(refused)?).unwrap_or_default();
        let pre_skip = u16::try_from(delay * (GRANULES / rate)).unwrap_or_default();
        let head = Head { channels, pre_skip, rate };
        let mut ogg = PacketWriter::new(inner);
        ogg.write_packet(head.bytes().to_vec(), serial, PacketWriteEndInfo::EndPage, 0)?;
        ogg.write_packet(tags(), serial, PacketWriteEndInfo::EndPage, 0)?;
        let waiting = Vec::with_capacity(rate as usize / PACKETS as usize * usize::from(channels));
        Ok(Self { ogg, opus, head, serial, waiting, packets: 0 })
    }

    /// Appends samples; two channels are interleaved, left first.
    ///
    /// # Errors
    /// What the sink says.
    pub fn write(&mut self, mut samples: &[i16]) -> io::Result<()> {
        let packet = self.packet();
        while self.waiting.len() + samples.len() >= packet {
            let (now, later) = samples.split_at(packet - self.waiting.len());
            self.waiting.extend_from_slice(now);
            samples = later;
            // A page has a second: whoever seeks in the file lands that near (§4).
            let full = (self.packets + 1).is_multiple_of(u64::from(PACKETS));
            let end = if full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.encode(end, (self.packets + 1) * u64::from(GRANULES / PACKETS))?;
        }
        self.waiting.extend_from_slice(samples);
        Ok(())
    }

    /// Ends the stream, and gives the sink back.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish(mut self) -> io::Result<W> {
        let packet = self.packet();
        // An odd sample of two channels is half of nothing.
        let rest = self.waiting.len() / usize::from(self.head.channels);
        let granule = u64::from(self.head.pre_skip)
            + self.packets * u64::from(GRANULES / PACKETS)
            + rest as u64 * self.head.granules_a_sample();
        self.waiting.truncate(rest * usize::from(self.head.channels));
        // What the encoder still holds back comes out behind silence: one packet more, or two.
        loop {
            self.waiting.resize(packet, 0);
            let reached = (self.packets + 1) * u64::from(GRANULES / PACKETS);
            if reached >= granule {
                self.encode(PacketWriteEndInfo::EndStream, granule)?;
                break;
            }
            self.encode(PacketWriteEndInfo::NormalPacket, reached)?;
        }
        Ok(self.ogg.into_inner())
    }

    /// Samples of a packet, of all channels together.
    fn packet(&self) -> usize {
        (self.head.rate / PACKETS) as usize * usize::from(self.head.channels)
    }

    /// Encodes what waits, which is a packet.
    fn encode(&mut self, end: PacketWriteEndInfo, granule: u64) -> io::Result<()> {
        let packet = self.opus.encode_vec(&self.waiting, LONGEST).map_err(refused)?;
        self.waiting.clear();
        self.packets += 1;
        self.ogg.write_packet(packet, self.serial, end, granule)
    }
}

fn refused(error: ::opus::Error) -> io::Error {
    io::Error::other(error)
}

/// The comment header (RFC 7845 §5.2): who made the stream, and nothing about its content.
fn tags() -> Vec<u8> {
    let vendor = ::opus::version();
    let mut packet = b"OpusTags".to_vec();
    packet.extend_from_slice(&u32::try_from(vendor.len()).unwrap_or_default().to_le_bytes());
    packet.extend_from_slice(vendor.as_bytes());
    packet.extend_from_slice(&0_u32.to_le_bytes());
    packet
}
