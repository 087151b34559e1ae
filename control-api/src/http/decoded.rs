//! A WAV file that is decoded from an Ogg Opus one while it is read: both sides, or one.
//!
//! Its length is known beforehand, from the last page's granule position. A part of it is decoded from the beginning on, so that it is
//! the same as that part of the whole: the codec has a memory. Whoever jumps about in a long call fetches the file as it is stored.

use axum::body::Body;
use bytes::Bytes;
use codecs::{
    ogg_opus::{self, Decoder, OggOpusError},
    wav::Head,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::wav::{HEADER, one_of_two};
use crate::archive::{Flow, Media, NoMedia, aside};

/// Bytes that are decoded in one go: a few seconds of speech, and of silence not more than some minutes.
const PIECE: usize = 8 * 1024;

/// What the decoded file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    wav: Head,
    /// Of two channels the one that is wanted: 0 or 1.
    only: Option<usize>,
}

impl Decoded {
    /// Of a file that lies somewhere; none if it is no Ogg Opus file with the sides that are asked for.
    pub(super) async fn of(media: &mut Media, only: Option<usize>) -> Result<Option<Self>, NoMedia> {
        let Some(first) = media.head::<{ ogg_opus::HEAD_BYTES }>().await? else { return Ok(None) };
        let Ok(head) = ogg_opus::Head::of_file(&first) else { return Ok(None) };
        let tail = media.length().min(ogg_opus::TAIL_BYTES as u64);
        let tail = media.bytes(media.length() - tail, tail).await?;
        let frames = ogg_opus::last_granule(&tail).map(|granule| head.frames(granule));
        let channels = if only.is_some() { 1 } else { head.channels };
        // A WAV file ends at four gigabytes.
        let data_bytes = frames.and_then(|frames| u32::try_from(frames.checked_mul(u64::from(channels) * 2)?).ok());
        let fits = only.is_none() || head.channels == 2;
        Ok(data_bytes
            .filter(|_| fits)
            .map(|data_bytes| Self { wav: Head { rate: head.rate, channels, data_bytes }, only }))
    }

    /// Its length.
    pub(super) fn length(self) -> u64 {
        HEADER + u64::from(self.wav.data_bytes)
    }

    /// So many bytes of it from a place on; `flow` is all of the stored file.
    pub(super) fn body(self, mut flow: Flow, at: u64, left: u64) -> Body {
        let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(2);
        tokio::spawn(async move {
            let mut cut = Cut { skip: at, left };
            if !cut.send(&sender, self.wav.bytes().to_vec()).await {
                return;
            }
            let mut decoder = Decoder::default();
            while let Some(piece) = flow.next().await {
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(error) => return drop(sender.send(Err(error)).await),
                };
                for start in (0..piece.len()).step_by(PIECE) {
                    let part = piece.slice(start..piece.len().min(start + PIECE));
                    let (taken, bytes) = match aside(move || self.decode(decoder, &part)).await {
                        Ok((taken, Ok(bytes))) => (taken, bytes),
                        Ok((_, Err(error))) => return drop(sender.send(Err(std::io::Error::other(error))).await),
                        Err(error) => return drop(sender.send(Err(error)).await),
                    };
                    decoder = taken;
                    if !cut.send(&sender, bytes).await {
                        return;
                    }
                }
            }
            // Fewer bytes than were promised are an error: the connection is cut rather than padded.
            let _ = sender.send(Err(std::io::ErrorKind::UnexpectedEof.into())).await;
        });
        Body::from_stream(ReceiverStream::new(receiver))
    }

    fn decode(self, mut decoder: Decoder, bytes: &[u8]) -> (Decoder, Result<Vec<u8>, OggOpusError>) {
        let mut samples = Vec::new();
        let decoded = decoder.push(bytes, &mut samples).map(|()| match self.only {
            None => samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            Some(channel) => one_of_two(&samples, channel),
        });
        (decoder, decoded)
    }
}

/// What is still to be left out, and to be sent.
struct Cut {
    skip: u64,
    left: u64,
}

impl Cut {
    /// Sends what is wanted of the next bytes; false when nothing is wanted any more.
    async fn send(&mut self, to: &mpsc::Sender<std::io::Result<Bytes>>, bytes: Vec<u8>) -> bool {
        let mut bytes = Bytes::from(bytes);
        let skipped = bytes.split_to(bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX)));
        self.skip -= skipped.len() as u64;
        bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= bytes.len() as u64;
        // Somebody who has gone is noticed while there is nothing to send, too.
        let there = if bytes.is_empty() { !to.is_closed() } else { to.send(Ok(bytes)).await.is_ok() };
        there && self.left > 0
    }
}
