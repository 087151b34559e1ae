//! RTP packets (RFC 3550 section 5): parsed without copying, printed into a buffer that is kept.

/// What a packet says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Seven bits.
    pub payload_type: u8,
    /// First packet after a pause, or the start of an event (RFC 3551, RFC 4733).
    pub marker: bool,
    /// Counts packets, wraps.
    pub sequence: u16,
    /// Sampling instant of the first sample in units of the codec's clock, wraps.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
}

/// A header and the bytes behind CSRC list and extension, without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// Media bytes; may be empty.
    pub payload: &'a [u8],
}

/// Why bytes are not an RTP or RTCP packet. It is counted, never reported further, so it needs no error trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its own header, CSRC list or extension.
    Short,
    /// Not version 2, or an RTCP compound that does not begin with a report.
    Version,
    /// Padding longer than the payload, or of length zero.
    Padding,
}

/// Bytes of the fixed header.
pub const HEADER: usize = 12;

impl<'a> Packet<'a> {
    /// Parses one datagram; never panics.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        let (fixed, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let sources = usize::from(fixed[0] & 0x0F) * 4;
        let mut rest = rest.get(sources..).ok_or(Malformed::Short)?;
        if fixed[0] & 0x10 != 0 {
            // RFC 3550 section 5.3.1: the length counts 32-bit words behind the four bytes of the extension's head.
            let head = rest.first_chunk::<4>().ok_or(Malformed::Short)?;
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            rest = rest.get(4 + words * 4..).ok_or(Malformed::Short)?;
        }
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(Malformed::Padding)?);
            if padding == 0 {
                return Err(Malformed::Padding);
            }
            rest = rest.get(..rest.len().wrapping_sub(padding)).ok_or(Malformed::Padding)?;
        }
        let header = Header {
            payload_type: fixed[1] & 0x7F,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        };
        Ok(Packet { header, payload: rest })
    }
}

impl Header {
    /// Replaces the content of `buf` by this header; the payload is appended by the caller.
    pub fn write(&self, buf: &mut Vec<u8>) {
        buf.clear();
        buf.extend_from_slice(&[0x80, u8::from(self.marker) << 7 | self.payload_type & 0x7F]);
        buf.extend_from_slice(&self.sequence.to_be_bytes());
        buf.extend_from_slice(&self.timestamp.to_be_bytes());
        buf.extend_from_slice(&self.ssrc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: Header =
        Header { payload_type: 101, marker: true, sequence: 0xFFFE, timestamp: 0xDEAD_BEEF, ssrc: 0x0102_0304 };

    fn printed(header: Header, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn what_is_printed_is_parsed() {
        let bytes = printed(HEAD, &[1, 2, 3]);
        assert_eq!(Packet::parse(&bytes), Ok(Packet { header: HEAD, payload: &[1, 2, 3] }));
    }

    #[test]
    fn csrc_list_extension_and_padding_are_stepped_over() {
        let mut bytes = printed(HEAD, &[]);
        bytes[0] |= 0x20 | 0x10 | 2;
        bytes.extend_from_slice(&[9; 8]);
        bytes.extend_from_slice(&[0xBE, 0xDE, 0, 1, 7, 7, 7, 7]);
        bytes.extend_from_slice(&[42, 43, 0, 0, 3]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, &[42, 43]);
    }

    #[test]
    fn what_does_not_fit_is_malformed() {
        let good = printed(HEAD, &[1, 2, 3, 4]);
        let with_first = |first: u8, last: u8| {
            let mut bytes = good.clone();
            bytes[0] = first;
            *bytes.last_mut().unwrap() = last;
            Packet::parse(&bytes).err()
        };
        assert_eq!(Packet::parse(&good[..11]), Err(Malformed::Short));
        assert_eq!(with_first(0x40, 0), Some(Malformed::Version));
        assert_eq!(with_first(0x8F, 0), Some(Malformed::Short));
        assert_eq!(with_first(0x90, 9), Some(Malformed::Short));
        assert_eq!(with_first(0xA0, 0), Some(Malformed::Padding));
        assert_eq!(with_first(0xA0, 5), Some(Malformed::Padding));
        assert_eq!(with_first(0xA0, 4), None);
        assert_eq!(Packet::parse(&printed(HEAD, &[])).unwrap().payload, &[] as &[u8]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Packet::parse(&bytes);
        }
    }
}
