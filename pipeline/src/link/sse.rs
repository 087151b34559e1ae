//! Server-sent events (WHATWG HTML 9.2), as far as vendors use them: the `data` of each event, out of bytes cut anywhere.

/// The most that one event may hold; a vendor that sends more is broken.
const LARGEST: usize = 1 << 20;

/// Splits a byte stream into the data of events.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    data: String,
    any: bool,
    after_cr: bool,
}

/// An event or a line beyond any size that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {LARGEST} bytes")]
pub struct TooLarge;

impl Events {
    /// Takes the next bytes and calls `event` with the data of each event that they complete.
    pub fn push(&mut self, bytes: &[u8], mut event: impl FnMut(&str)) -> Result<(), TooLarge> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    self.end_line(&mut event)?;
                }
                _ => {
                    self.after_cr = false;
                    if self.line.len() >= LARGEST {
                        return Err(TooLarge);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, event: &mut impl FnMut(&str)) -> Result<(), TooLarge> {
        if self.line.is_empty() {
            if std::mem::take(&mut self.any) {
                event(&self.data);
                self.data.clear();
            }
            return Ok(());
        }
        // A line is decoded as a whole, so that a character cut between two reads is whole again.
        let line = String::from_utf8_lossy(&self.line);
        if let Some(value) = line.strip_prefix("data:") {
            if self.any {
                self.data.push('\n');
            }
            self.any = true;
            self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
            if self.data.len() > LARGEST {
                return Err(TooLarge);
            }
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        let mut out = Vec::new();
        for piece in pieces {
            events.push(piece, |data| out.push(data.to_owned())).unwrap();
        }
        out
    }

    #[test]
    fn a_character_cut_in_two_is_whole_again() {
        let text = "data: é\n\n".as_bytes();
        assert_eq!(split(&[&text[..7], &text[7..]]), ["é"]);
    }

    #[test]
    fn comments_names_and_line_ends_of_all_kinds() {
        assert_eq!(split(&[b": ping\r\n\r\nevent: x\r\ndata:1\r", b"\n\r\ndata: 2\ndata: 3\n\n"]), ["1", "2\n3"]);
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let mut events = Events::default();
        assert_eq!(events.push(&vec![b'x'; LARGEST + 1], |_| ()), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn the_cuts_do_not_matter(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd'), any::<u8>()], 0..200), at in 0usize..200) {
            let mut bytes = bytes;
            bytes.splice(0..0, *b"data: ");
            let at = at.min(bytes.len());
            prop_assert_eq!(split(&[&bytes]), split(&[&bytes[..at], &bytes[at..]]));
        }
    }
}
