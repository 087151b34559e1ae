//! RTCP (RFC 3550 section 6): sender and receiver reports with a CNAME, BYE, and compound packets.

use crate::rtp::Malformed;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const CNAME: u8 = 1;

/// What one receiver says about one source it hears (section 6.4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// The source it is about.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits, may be negative with duplicates.
    pub lost: i32,
    /// Sequence number with its wraps above it.
    pub highest_sequence: u32,
    /// In timestamp units.
    pub jitter: u32,
    /// Middle of the NTP time of the last sender report heard; 0 for none.
    pub last_report: u32,
    /// Since that report was heard, in 1/65536 s.
    pub delay: u32,
}

/// What a sender says about its own stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Its clock, 32.32 seconds.
    pub ntp: u64,
    /// The same instant in RTP time.
    pub timestamp: u32,
    /// Since the beginning.
    pub packets: u32,
    /// Payload bytes since the beginning.
    pub octets: u32,
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR (with `sent`) or RR (without).
    Report {
        /// Who reports.
        ssrc: u32,
        /// Present in sender reports only.
        sent: Option<Sent>,
        /// Report blocks, 24 bytes each; read them with [`reports`].
        blocks: &'a [u8],
    },
    /// SDES: the first chunk's CNAME, when it has one.
    Description {
        /// Who is described.
        ssrc: u32,
        /// Canonical name.
        cname: Option<&'a [u8]>,
    },
    /// BYE of these sources, four bytes each. Unauthenticated: nothing ends because of it.
    Bye {
        /// Source identifiers in network order.
        sources: &'a [u8],
    },
    /// Application-defined, feedback or unknown.
    Other {
        /// Its packet type.
        kind: u8,
    },
}

/// The report blocks of a [`Packet::Report`].
pub fn reports(blocks: &[u8]) -> impl Iterator<Item = Report> + '_ {
    blocks.chunks_exact(24).map(|b| Report {
        ssrc: word(b, 0),
        fraction_lost: b[4],
        // The 24-bit field is signed: shift it up and back down arithmetically.
        lost: (word(b, 4) << 8) as i32 >> 8,
        highest_sequence: word(b, 8),
        jitter: word(b, 12),
        last_report: word(b, 16),
        delay: word(b, 20),
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// The packets of one datagram; the first malformed one ends the iteration.
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// Checks the whole datagram as RFC 3550 appendix A.2 does, then gives its packets.
///
/// Reduced-size compounds (RFC 5506) were not negotiated: the first packet must be a report.
pub fn parse(bytes: &[u8]) -> Result<Compound<'_>, Malformed> {
    if bytes.len() < 8 {
        return Err(Malformed::Short);
    }
    if !matches!(bytes[1], SENDER_REPORT | RECEIVER_REPORT) {
        return Err(Malformed::Version);
    }
    let compound = Compound { rest: bytes };
    for packet in compound.clone() {
        packet?;
    }
    Ok(compound)
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = split(self.rest);
        self.rest = result.map_or(&[], |(_, rest)| rest);
        Some(result.map(|(packet, _)| packet))
    }
}

fn split(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), Malformed> {
    let head = bytes.first_chunk::<4>().ok_or(Malformed::Short)?;
    if head[0] >> 6 != 2 {
        return Err(Malformed::Version);
    }
    let length = (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1) * 4;
    if length > bytes.len() {
        return Err(Malformed::Short);
    }
    let (whole, rest) = bytes.split_at(length);
    let mut body = &whole[4..];
    if head[0] & 0x20 != 0 {
        let padding = usize::from(*body.last().ok_or(Malformed::Padding)?);
        if padding == 0 || padding > body.len() {
            return Err(Malformed::Padding);
        }
        body = &body[..body.len() - padding];
    }
    let count = usize::from(head[0] & 0x1F);
    let packet = match head[1] {
        SENDER_REPORT => {
            let blocks = body.get(24..24 + count * 24).ok_or(Malformed::Short)?;
            let sent = Sent {
                ntp: u64::from(word(body, 4)) << 32 | u64::from(word(body, 8)),
                timestamp: word(body, 12),
                packets: word(body, 16),
                octets: word(body, 20),
            };
            Packet::Report { ssrc: word(body, 0), sent: Some(sent), blocks }
        }
        RECEIVER_REPORT => {
            let blocks = body.get(4..4 + count * 24).ok_or(Malformed::Short)?;
            Packet::Report { ssrc: word(body, 0), sent: None, blocks }
        }
        DESCRIPTION if count > 0 => {
            let items = body.get(4..).ok_or(Malformed::Short)?;
            Packet::Description { ssrc: word(body, 0), cname: cname(items) }
        }
        BYE => Packet::Bye { sources: body.get(..count * 4).ok_or(Malformed::Short)? },
        kind => Packet::Other { kind },
    };
    Ok((packet, rest))
}

fn cname(mut items: &[u8]) -> Option<&[u8]> {
    while let [kind, length, rest @ ..] = items {
        if *kind == 0 {
            return None;
        }
        let value = rest.get(..usize::from(*length))?;
        if *kind == CNAME {
            return Some(value);
        }
        items = &rest[value.len()..];
    }
    None
}

/// Appends an SR (with `sent`) or an RR with at most one report block.
pub fn write_report(buf: &mut Vec<u8>, ssrc: u32, sent: Option<&Sent>, report: Option<&Report>) {
    let start = begin(buf, if sent.is_some() { SENDER_REPORT } else { RECEIVER_REPORT }, report.is_some().into());
    buf.extend_from_slice(&ssrc.to_be_bytes());
    if let Some(sent) = sent {
        buf.extend_from_slice(&sent.ntp.to_be_bytes());
        for word in [sent.timestamp, sent.packets, sent.octets] {
            buf.extend_from_slice(&word.to_be_bytes());
        }
    }
    if let Some(r) = report {
        let lost = r.lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        let loss = u32::from(r.fraction_lost) << 24 | lost;
        for word in [r.ssrc, loss, r.highest_sequence, r.jitter, r.last_report, r.delay] {
            buf.extend_from_slice(&word.to_be_bytes());
        }
    }
    end(buf, start);
}

/// Appends an SDES with one CNAME (cut at 255 bytes).
pub fn write_cname(buf: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let start = begin(buf, DESCRIPTION, 1);
    let name = &cname.as_bytes()[..cname.len().min(255)];
    buf.extend_from_slice(&ssrc.to_be_bytes());
    buf.extend_from_slice(&[CNAME, name.len() as u8]);
    buf.extend_from_slice(name);
    // The list ends with at least one zero, up to the next word.
    buf.push(0);
    end(buf, start);
}

/// Appends a BYE of one source.
pub fn write_bye(buf: &mut Vec<u8>, ssrc: u32) {
    let start = begin(buf, BYE, 1);
    buf.extend_from_slice(&ssrc.to_be_bytes());
    end(buf, start);
}

fn begin(buf: &mut Vec<u8>, kind: u8, count: u8) -> usize {
    let start = buf.len();
    buf.extend_from_slice(&[0x80 | count, kind, 0, 0]);
    start
}

fn end(buf: &mut Vec<u8>, start: usize) {
    while !(buf.len() - start).is_multiple_of(4) {
        buf.push(0);
    }
    let words = ((buf.len() - start) / 4 - 1) as u16;
    buf[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_compound_is_read_back() {
        let sent = Sent { ntp: 0x0123_4567_89AB_CDEF, timestamp: 7, packets: 8, octets: 9 };
        let report = Report {
            ssrc: 5,
            fraction_lost: 200,
            lost: -3,
            highest_sequence: 70_000,
            jitter: 33,
            last_report: 0x4567_89AB,
            delay: 65_536,
        };
        let mut bytes = Vec::new();
        write_report(&mut bytes, 1, Some(&sent), Some(&report));
        write_cname(&mut bytes, 1, "abc@host");
        write_bye(&mut bytes, 1);
        let packets: Vec<_> = parse(&bytes).unwrap().map(Result::unwrap).collect();
        let Packet::Report { ssrc: 1, sent: Some(read), blocks } = packets[0] else { panic!("{packets:?}") };
        assert_eq!(read, sent);
        assert_eq!(reports(blocks).collect::<Vec<_>>(), [report]);
        assert_eq!(packets[1], Packet::Description { ssrc: 1, cname: Some(b"abc@host") });
        assert_eq!(packets[2], Packet::Bye { sources: &[0, 0, 0, 1] });
        assert_eq!(packets.len(), 3);
    }

    #[test]
    fn a_receiver_report_without_blocks_is_enough() {
        let mut bytes = Vec::new();
        write_report(&mut bytes, 77, None, None);
        assert_eq!(parse(&bytes).unwrap().next(), Some(Ok(Packet::Report { ssrc: 77, sent: None, blocks: &[] })));
    }

    #[test]
    fn a_compound_that_lies_about_lengths_is_refused_whole() {
        let mut bytes = Vec::new();
        write_report(&mut bytes, 1, None, None);
        write_cname(&mut bytes, 1, "x");
        let mut long = bytes.clone();
        long[11] = 200;
        assert!(parse(&long).is_err());
        let mut counted = bytes.clone();
        counted[0] |= 31;
        assert!(parse(&counted).is_err());
        // A BYE alone is not a compound.
        let mut bye = Vec::new();
        write_bye(&mut bye, 1);
        assert!(parse(&bye).is_err());
        assert!(parse(&bytes[..bytes.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 200u8..206) {
            if bytes.len() > 4 {
                bytes[0] = bytes[0] & 0x3F | 0x80;
                bytes[1] = kind;
                bytes[2] = 0;
                bytes[3] &= 15;
            }
            for packet in (Compound { rest: &bytes }) {
                if let Ok(Packet::Report { blocks, .. }) = packet {
                    for report in reports(blocks) {
                        prop_assert!(report.lost.abs() <= 0x80_0000);
                    }
                }
            }
            let _ = parse(&bytes);
        }
    }
}
