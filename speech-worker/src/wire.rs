//! The words between server and worker: a frame is a little-endian `u32` length, a kind byte, a `u32` id and a body.
//! The other end is `pipeline::offline::wire`.

use std::io::Read;

/// Longer frames are not written by anybody.
const LONGEST: usize = 1 << 20;

/// From the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    /// Opens an utterance of a session with a JSGF grammar.
    Begin { session: u32, utterance: u32, grammar: String },
    /// 8 kHz samples of the open utterance.
    Audio { session: u32, pcm: Vec<i16> },
    /// The utterance is over; answer.
    End { session: u32 },
    /// The utterance is not wanted any more.
    Drop { session: u32 },
    /// Say a text.
    Speak { job: u32, voice: String, text: String },
    /// The text is not wanted any more.
    Cancel { job: u32 },
}

/// To the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// Ready to work.
    Hello { voices: Vec<String> },
    /// The engines are not installed; the worker ends.
    Missing { reason: String },
    /// A guess at the words so far.
    Partial { session: u32, utterance: u32, text: String },
    /// The answer; an empty text if there were no words.
    Final { session: u32, utterance: u32, sure: bool, text: String },
    /// Words of the grammar that the dictionary does not have; it is used without them.
    Unknown { session: u32, words: String },
    /// The grammar cannot be used at all.
    BadGrammar { session: u32, utterance: u32 },
    /// 8 kHz samples of a text.
    Pcm { job: u32, pcm: Vec<i16> },
    /// The text has been said.
    Spoken { job: u32 },
    /// The text cannot be said.
    Unspeakable { job: u32, reason: String },
}

/// The next request; `None` at the end of the stream or at anything that is not one.
pub(crate) fn read(from: &mut impl Read) -> Option<Request> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let length = u32::from_le_bytes(length) as usize;
    if !(5..=LONGEST).contains(&length) {
        return None;
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).ok()?;
    parse(&frame)
}

fn parse(frame: &[u8]) -> Option<Request> {
    let (&kind, rest) = frame.split_first()?;
    let (id, body) = rest.split_first_chunk::<4>()?;
    let id = u32::from_le_bytes(*id);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(match kind {
        1 => {
            let (utterance, grammar) = body.split_first_chunk::<4>()?;
            Request::Begin { session: id, utterance: u32::from_le_bytes(*utterance), grammar: text(grammar)? }
        }
        2 => {
            let pcm = body.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
            Request::Audio { session: id, pcm }
        }
        3 => Request::End { session: id },
        4 => Request::Drop { session: id },
        5 => {
            let at = body.iter().position(|b| *b == 0)?;
            Request::Speak { job: id, voice: text(&body[..at])?, text: text(&body[at + 1..])? }
        }
        6 => Request::Cancel { job: id },
        _ => return None,
    })
}

impl Reply {
    /// As bytes, length included.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, id, body) = match self {
            Reply::Hello { voices } => (1, 0, voices.join(" ").into_bytes()),
            Reply::Missing { reason } => (2, 0, reason.clone().into_bytes()),
            Reply::Partial { session, utterance, text } => {
                (3, *session, [&utterance.to_le_bytes(), text.as_bytes()].concat())
            }
            Reply::Final { session, utterance, sure, text } => {
                (4, *session, [&utterance.to_le_bytes()[..], &[u8::from(*sure)], text.as_bytes()].concat())
            }
            Reply::Unknown { session, words } => (5, *session, words.clone().into_bytes()),
            Reply::BadGrammar { session, utterance } => (6, *session, utterance.to_le_bytes().to_vec()),
            Reply::Pcm { job, pcm } => (7, *job, pcm.iter().flat_map(|s| s.to_le_bytes()).collect()),
            Reply::Spoken { job } => (8, *job, Vec::new()),
            Reply::Unspeakable { job, reason } => (9, *job, reason.clone().into_bytes()),
        };
        let mut out = Vec::with_capacity(body.len() + 9);
        out.extend((body.len() as u32 + 5).to_le_bytes());
        out.push(kind);
        out.extend(id.to_le_bytes());
        out.extend(body);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_le_bytes()[..], body].concat()
    }

    #[test]
    fn a_request_is_read_and_a_broken_one_ends_the_stream() {
        let begin = framed(b"\x01\x07\0\0\0\x02\0\0\0#JSGF");
        let want = Request::Begin { session: 7, utterance: 2, grammar: "#JSGF".to_owned() };
        assert_eq!(read(&mut &begin[..]), Some(want));
        for cut in 0..begin.len() {
            assert_eq!(read(&mut &begin[..cut]), None);
        }
        assert_eq!(read(&mut &framed(b"\x63\0\0\0\0")[..]), None);
        assert_eq!(read(&mut &b"\xff\xff\xff\xff"[..]), None);
    }

    #[test]
    fn a_reply_carries_its_length_kind_and_id() {
        let reply = Reply::Final { session: 1, utterance: 2, sure: true, text: "yes".to_owned() };
        assert_eq!(reply.encode(), b"\x0d\0\0\0\x04\x01\0\0\0\x02\0\0\0\x01yes");
    }
}
