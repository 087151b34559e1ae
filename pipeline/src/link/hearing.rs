//! What all streaming recognisers need around their protocol: kept audio for a replay, times over reconnects, and when an answer is owed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use codecs::pcm;

use super::{Door, Fault, Frame, Limits, Outbox, Protocol, Wait, open, usage::Usage};
use crate::{
    Ms,
    stt::{SttCommand, SttEvent, SttLink},
};

/// Length of one frame of audio.
const FRAME_MS: Ms = 20;
/// Frames of one message when kept audio is sent again.
const BURST: usize = 5;

/// A vendor's streaming recogniser: encodes audio, decodes results.
pub trait Recogniser: Send + 'static {
    /// Without audio for so long, `keep_alive` is sent.
    const KEEP_ALIVE: Duration;
    /// Where to connect, with the phrases to expect if the vendor takes such.
    fn door(&self, phrases: &[String]) -> Door;
    /// A new socket: all times begin at 0 again.
    fn reset(&mut self);
    /// Appends one frame in the vendor's encoding.
    fn encode(&self, frame: &pcm::Frame, into: &mut Vec<u8>);
    /// Decodes a message; times are counted from the first audio of this socket.
    fn decode(&mut self, text: &str, out: &mut Outbox<SttEvent>) -> Result<(), Fault>;
    /// Asks for a final now.
    fn flush(&self) -> Option<Frame>;
    /// Keeps a socket without audio open.
    fn keep_alive(&self) -> Option<Frame>;
    /// Ends a socket.
    fn farewell(&self) -> Option<Frame>;
}

/// Opens a recogniser.
pub fn listen<R: Recogniser>(recogniser: R, name: String, limits: Limits) -> SttLink {
    let usage = Usage::of(&name);
    let hearing = Hearing::new(recogniser, usage.clone(), &limits);
    let (commands, events) = open(hearing, &name, usage.clone(), limits);
    SttLink { commands, events, name, usage }
}

/// A recogniser with the audio that it may have to hear again.
struct Hearing<R> {
    recogniser: R,
    usage: Arc<Usage>,
    kept: VecDeque<pcm::Frame>,
    keep: usize,
    /// Frames that came before the first kept one.
    before: u64,
    /// Frames before the first one of this socket.
    offset: u64,
    phrases: Vec<String>,
    ready: bool,
    speaking: bool,
    flushing: bool,
    /// The caller spoke, or a flush was asked for, since the last final.
    expecting: bool,
    /// Audio went out since the last message came in.
    unanswered: bool,
}

impl<R: Recogniser> Hearing<R> {
    fn new(recogniser: R, usage: Arc<Usage>, limits: &Limits) -> Self {
        Self {
            recogniser,
            usage,
            kept: VecDeque::new(),
            keep: (limits.replay_ms / FRAME_MS) as usize,
            before: 0,
            offset: 0,
            phrases: Vec::new(),
            ready: false,
            speaking: false,
            flushing: false,
            expecting: false,
            unanswered: false,
        }
    }

    /// What is frozen up to `end` need not be heard again.
    fn forget(&mut self, end: Ms) {
        while !self.kept.is_empty() && (self.before + 1) * FRAME_MS <= end {
            self.kept.pop_front();
            self.before += 1;
        }
    }

    fn audio(&mut self, frames: &[pcm::Frame], out: &mut Outbox<SttEvent>) {
        let mut bytes = Vec::with_capacity(frames.len() * pcm::FRAME);
        for frame in frames {
            self.recogniser.encode(frame, &mut bytes);
        }
        self.usage.add(|usage| &usage.audio_in_ms, frames.len() as u64 * FRAME_MS);
        out.frames.push(Frame::Binary(Bytes::from(bytes)));
        self.unanswered = true;
    }
}

impl<R: Recogniser> Protocol for Hearing<R> {
    type Command = SttCommand;
    type Event = SttEvent;
    const KEEP_ALIVE: Duration = R::KEEP_ALIVE;

    fn door(&self) -> Door {
        self.recogniser.door(&self.phrases)
    }

    fn handle_open(&mut self, took: Duration, out: &mut Outbox<SttEvent>) {
        self.recogniser.reset();
        self.offset = self.before;
        self.unanswered = false;
        if !std::mem::replace(&mut self.ready, true) {
            out.events.push(SttEvent::Ready { took_ms: took.as_millis() as u32 });
        }
        let kept: Vec<_> = self.kept.iter().copied().collect();
        for burst in kept.chunks(BURST) {
            self.audio(burst, out);
        }
        if self.flushing {
            out.frames.extend(self.recogniser.flush());
        }
    }

    fn handle_command(&mut self, command: SttCommand, online: bool, out: &mut Outbox<SttEvent>) {
        match command {
            SttCommand::Audio(frame) => {
                self.kept.push_back(frame);
                if self.kept.len() > self.keep {
                    self.kept.pop_front();
                    self.before += 1;
                    if !online {
                        self.usage.add(|usage| &usage.audio_lost_ms, FRAME_MS);
                    }
                }
                if online {
                    self.audio(&[frame], out);
                }
            }
            SttCommand::SpeechStarted { .. } => {
                self.speaking = true;
                self.expecting = true;
            }
            SttCommand::SpeechEnded { .. } => self.speaking = false,
            SttCommand::Flush => {
                self.flushing = true;
                self.expecting = true;
                if online {
                    out.frames.extend(self.recogniser.flush());
                }
            }
            // Vendors take phrases with the handshake only: these hold from the next connection on.
            SttCommand::Expect(hints) => self.phrases = hints.phrases,
        }
    }

    fn handle_text(&mut self, text: &str, out: &mut Outbox<SttEvent>) -> Result<(), Fault> {
        self.unanswered = false;
        let result = self.recogniser.decode(text, out);
        let shift = self.offset * FRAME_MS;
        let mut frozen = None;
        out.events.retain_mut(|event| match event {
            SttEvent::Partial { end, .. } => {
                *end += shift;
                true
            }
            SttEvent::Final { end, .. } => {
                *end += shift;
                frozen = Some(*end);
                self.expecting = self.speaking;
                self.flushing = false;
                true
            }
            SttEvent::Nothing { end } => {
                *end += shift;
                frozen = Some(*end);
                self.flushing = false;
                // Vendors report silence too; it is news only to somebody who waits for words.
                std::mem::replace(&mut self.expecting, self.speaking)
            }
            _ => true,
        });
        if let Some(end) = frozen {
            self.forget(end);
        }
        result
    }

    fn handle_lost(&mut self, _: &Fault, _: bool, _: &mut Outbox<SttEvent>) {}

    fn waiting(&self) -> Option<Wait> {
        // A flush may stay without an answer when there was nothing to freeze.
        (self.speaking && self.unanswered).then_some(Wait::Next)
    }

    fn keep_alive(&self) -> Option<Frame> {
        self.recogniser.keep_alive()
    }

    fn farewell(&self) -> Option<Frame> {
        self.recogniser.farewell()
    }

    fn down(fault: &Fault) -> SttEvent {
        SttEvent::Down { reason: fault.reason.clone(), retry: fault.retry }
    }
}
