//! Telephone events (RFC 4733): keys of the caller, each once, and keys we press.

mod receive;
mod send;

pub(crate) use receive::{Key, Keys};
pub(crate) use send::{Press, Presses};

/// The four bytes of an event payload (RFC 4733 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) event: u8,
    pub(crate) end: bool,
    /// In timestamp units since the packet's timestamp.
    pub(crate) duration: u16,
}

/// Our keys' level: −10 dBm0.
const VOLUME: u8 = 10;

impl Payload {
    /// Events of one packet beyond the first are not used by keys; they are ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Payload> {
        let b = bytes.first_chunk::<4>()?;
        Some(Payload { event: b[0], end: b[1] & 0x80 != 0, duration: u16::from_be_bytes([b[2], b[3]]) })
    }

    pub(crate) fn bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | VOLUME, high, low]
    }
}
