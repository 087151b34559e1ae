//! Cutting a byte stream into messages by Content-Length (RFC 3261 §18.3), keep-alives apart (RFC 5626 §3.5.1).

use crate::message::{MAX_MESSAGE, content_length};

/// Why a stream cannot be cut any further; the connection is of no use after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Head and body together are longer than 64 KiB; the bytes of the head, as far as they came, can be answered.
    #[error("message too long")]
    TooLong(Vec<u8>),
    /// No Content-Length: nobody knows where the message ends.
    #[error("content-length missing")]
    LengthMissing,
    /// Content-Length is no number, or stands there twice.
    #[error("content-length malformed")]
    LengthMalformed,
}

/// What a stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framed {
    /// One whole message.
    Message(Vec<u8>),
    /// A keep-alive (two line ends); it is answered with one line end.
    Ping,
}

/// The answer to a [`Framed::Ping`].
pub const PONG: &[u8] = b"\r\n";

/// Collects the bytes of one connection.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Where the search for the end of the head goes on.
    searched: usize,
    /// Head and body length of the message at the front, once its head is read.
    wanted: Option<usize>,
}

impl Framer {
    /// An empty framer.
    pub fn new() -> Self {
        Framer::default()
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait for the rest of their message: more than 0 for long is a slow or dead peer.
    pub fn pending(&self) -> usize {
        self.bytes.len()
    }

    /// The next message or keep-alive; `Ok(None)` when more bytes are needed.
    #[allow(clippy::should_implement_trait, reason = "it may yield again after `None`, once more was pushed")]
    pub fn next(&mut self) -> Result<Option<Framed>, FrameError> {
        if self.wanted.is_none() && self.searched == 0 {
            if self.bytes.starts_with(b"\r\n\r\n") {
                self.bytes.drain(..4);
                return Ok(Some(Framed::Ping));
            }
            if b"\r\n\r\n".starts_with(&self.bytes) {
                return Ok(None);
            }
            let blank = self.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.bytes.drain(..blank);
        }
        let wanted = match self.wanted {
            Some(wanted) => wanted,
            None => match self.head_end() {
                Some(end) => {
                    let length = content_length(&self.bytes[..end]).map_err(|_| FrameError::LengthMalformed)?;
                    let wanted = end + length.ok_or(FrameError::LengthMissing)?;
                    if wanted > MAX_MESSAGE {
                        return Err(FrameError::TooLong(self.bytes[..end].to_vec()));
                    }
                    *self.wanted.insert(wanted)
                }
                None if self.bytes.len() >= MAX_MESSAGE => return Err(FrameError::TooLong(Vec::new())),
                None => return Ok(None),
            },
        };
        if self.bytes.len() < wanted {
            return Ok(None);
        }
        let rest = self.bytes.split_off(wanted);
        let message = std::mem::replace(&mut self.bytes, rest);
        self.wanted = None;
        self.searched = 0;
        Ok(Some(Framed::Message(message)))
    }

    /// The index after the empty line that ends the head.
    fn head_end(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(3);
        for at in from..self.bytes.len() {
            if self.bytes[at] == b'\n' {
                let before = &self.bytes[..at];
                if before.ends_with(b"\n\r") || before.ends_with(b"\n") {
                    return Some(at + 1);
                }
            }
        }
        self.searched = self.bytes.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 3\r\n\r\nabc";

    #[test]
    fn cuts_messages_that_arrive_byte_by_byte() {
        let mut framer = Framer::new();
        let mut seen = 0;
        for byte in [PING, PING].concat() {
            framer.push(&[byte]);
            if let Some(framed) = framer.next().unwrap() {
                assert_eq!(framed, Framed::Message(PING.to_vec()));
                seen += 1;
            }
        }
        assert_eq!((seen, framer.pending()), (2, 0));
    }

    #[test]
    fn cuts_two_messages_of_one_read_and_a_keep_alive_between() {
        let mut framer = Framer::new();
        framer.push(&[PING, b"\r\n\r\n", PING].concat());
        assert_eq!(framer.next().unwrap(), Some(Framed::Message(PING.to_vec())));
        assert_eq!(framer.next().unwrap(), Some(Framed::Ping));
        assert_eq!(framer.next().unwrap(), Some(Framed::Message(PING.to_vec())));
        assert_eq!(framer.next().unwrap(), None);
    }

    #[test]
    fn reads_a_folded_length_with_odd_spacing() {
        let mut framer = Framer::new();
        let message = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length  :\r\n  2\r\n\r\nhi";
        framer.push(message);
        assert_eq!(framer.next().unwrap(), Some(Framed::Message(message.to_vec())));
    }

    #[test]
    fn refuses_what_has_no_end() {
        const LONG: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nl: 65536\r\n\r\n";
        let cases: [(&[u8], FrameError); 4] = [
            (b"OPTIONS sip:a SIP/2.0\r\n\r\n", FrameError::LengthMissing),
            (b"OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n", FrameError::LengthMalformed),
            (b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nl: 1\r\n\r\n", FrameError::LengthMalformed),
            (LONG, FrameError::TooLong(LONG.to_vec())),
        ];
        for (bytes, error) in cases {
            let mut framer = Framer::new();
            framer.push(bytes);
            assert_eq!(framer.next(), Err(error));
        }
        let mut framer = Framer::new();
        framer.push(&vec![b'a'; MAX_MESSAGE]);
        assert_eq!(framer.next(), Err(FrameError::TooLong(Vec::new())));
    }
}
