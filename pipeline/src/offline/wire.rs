//! The words between server and speech worker: a frame is a little-endian `u32` length, a kind byte, a `u32` id and a body.
//! The other end is the worker's own `wire`.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longer frames are not written by anybody.
const LONGEST: usize = 1 << 20;

/// To the worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    /// Opens an utterance of a session with a JSGF grammar.
    Begin { session: u32, utterance: u32, grammar: std::sync::Arc<str> },
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

/// From the worker, or about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// Ready to work; the voices it has.
    Hello { voices: String },
    /// The engines are not installed.
    Missing { reason: String },
    /// A guess at the words so far.
    Partial { utterance: u32, text: String },
    /// The answer; an empty text if there were no words.
    Final { utterance: u32, sure: bool, text: String },
    /// Words of the grammar that the dictionary does not have.
    Unknown { words: String },
    /// The grammar cannot be used at all.
    BadGrammar { utterance: u32 },
    /// 8 kHz samples of a text.
    Pcm { pcm: Vec<i16> },
    /// The text has been said.
    Spoken,
    /// The text cannot be said.
    Unspeakable { reason: String },
    /// The worker died; what it was doing is lost.
    Lost,
}

/// The next reply with its id; `None` at the end of the stream or at anything that is not one.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<(u32, Reply)> {
    let length = from.read_u32_le().await.ok()? as usize;
    if !(5..=LONGEST).contains(&length) {
        return None;
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await.ok()?;
    parse(&frame)
}

fn parse(frame: &[u8]) -> Option<(u32, Reply)> {
    let (&kind, rest) = frame.split_first()?;
    let (id, body) = rest.split_first_chunk::<4>()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let utterance = || body.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n), rest));
    let reply = match kind {
        1 => Reply::Hello { voices: text(body) },
        2 => Reply::Missing { reason: text(body) },
        3 => utterance().map(|(utterance, rest)| Reply::Partial { utterance, text: text(rest) })?,
        4 => {
            let (utterance, rest) = utterance()?;
            let (sure, rest) = rest.split_first()?;
            Reply::Final { utterance, sure: *sure != 0, text: text(rest) }
        }
        5 => Reply::Unknown { words: text(body) },
        6 => Reply::BadGrammar { utterance: utterance()?.0 },
        7 => Reply::Pcm { pcm: body.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect() },
        8 => Reply::Spoken,
        9 => Reply::Unspeakable { reason: text(body) },
        _ => return None,
    };
    Some((u32::from_le_bytes(*id), reply))
}

impl Request {
    /// As bytes, length included, at the end of a buffer.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        let (kind, id) = match self {
            Request::Begin { session, .. } => (1, session),
            Request::Audio { session, .. } => (2, session),
            Request::End { session } => (3, session),
            Request::Drop { session } => (4, session),
            Request::Speak { job, .. } => (5, job),
            Request::Cancel { job } => (6, job),
        };
        out.push(kind);
        out.extend(id.to_le_bytes());
        match self {
            Request::Begin { utterance, grammar, .. } => {
                out.extend(utterance.to_le_bytes());
                out.extend(grammar.as_bytes());
            }
            Request::Audio { pcm, .. } => out.extend(pcm.iter().flat_map(|s| s.to_le_bytes())),
            Request::Speak { voice, text, .. } => {
                out.extend(voice.bytes().filter(|b| *b != 0));
                out.push(0);
                out.extend(text.as_bytes());
            }
            Request::End { .. } | Request::Drop { .. } | Request::Cancel { .. } => {}
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_its_length_kind_and_id() {
        let mut out = Vec::new();
        Request::Begin { session: 7, utterance: 2, grammar: "#JSGF".into() }.encode(&mut out);
        assert_eq!(out, b"\x0e\0\0\0\x01\x07\0\0\0\x02\0\0\0#JSGF");
        Request::End { session: 7 }.encode(&mut out);
        assert_eq!(out[18..], b"\x05\0\0\0\x03\x07\0\0\0"[..]);
    }

    #[tokio::test]
    async fn a_reply_is_read_and_a_broken_one_ends_the_stream() {
        let bytes = b"\x0d\0\0\0\x04\x01\0\0\0\x02\0\0\0\x01yes";
        let want = Reply::Final { utterance: 2, sure: true, text: "yes".to_owned() };
        assert_eq!(read(&mut &bytes[..]).await, Some((1, want)));
        for cut in 0..bytes.len() {
            assert_eq!(read(&mut &bytes[..cut]).await, None);
        }
        assert_eq!(read(&mut &b"\xff\xff\xff\xff"[..]).await, None);
    }
}
