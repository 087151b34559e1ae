//! What all streaming voices need around their protocol: generations, counted samples, timed words, and what is said again after a lost connection.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Door, Fault, Frame, Limits, Outbox, Protocol, Wait, open, usage::Usage};
use crate::{
    Gen,
    tts::{TtsCommand, TtsEvent, TtsLink},
};

/// The most samples of one `Audio` event: one second.
const LONGEST: usize = 8000;
/// Generations whose end is remembered.
const REMEMBERED: usize = 32;
/// Samples of a millisecond.
const MS: u64 = 8;

/// A vendor's streaming voice: encodes text, decodes sound. Every generation is a context of its own.
pub trait Speaker: Send + 'static {
    /// Without text for so long, `keep_alive` is sent.
    const KEEP_ALIVE: Duration;
    /// Generations that may be open at a time.
    const CONTEXTS: usize;
    /// Where to connect.
    fn door(&self) -> Door;
    /// Says a piece; `first` opens the context.
    fn speak(&self, r#gen: Gen, first: bool, text: &str, frames: &mut Vec<Frame>);
    /// No more text comes for this context, say it to the end.
    fn finish(&self, r#gen: Gen, frames: &mut Vec<Frame>);
    /// Nothing more is wanted of this context.
    fn cancel(&self, r#gen: Gen, frames: &mut Vec<Frame>);
    /// Decodes a message.
    fn decode(&self, text: &str) -> Result<Heard, Fault>;
    /// Keeps a socket open; `r#gen` is an open context, if there is one.
    fn keep_alive(&self, r#gen: Option<Gen>) -> Option<Frame>;
    /// Ends a socket.
    fn farewell(&self) -> Option<Frame>;
    /// What a close of the vendor means.
    fn judge_close(&self, code: Option<u16>, reason: &str) -> Fault {
        Fault::closed(code, reason)
    }
}

/// What a vendor's message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Something of a context.
    Sound {
        /// Which.
        r#gen: Gen,
        /// At 8 kHz; may be empty.
        pcm: Vec<i16>,
        /// Text of this message's sound: characters and where they end in it, ms. Empty where the vendor times nothing.
        timed: Vec<(String, u64)>,
        /// This was the last of it.
        done: bool,
    },
    /// Nothing that matters.
    Nothing,
    /// No message of this protocol.
    Strange,
}

/// Opens a voice.
pub fn speak<S: Speaker>(speaker: S, name: String, limits: Limits) -> TtsLink {
    let usage = Usage::of(&name);
    let voice = Voice { speaker, usage: usage.clone(), speeches: BTreeMap::new(), over: VecDeque::new() };
    let (commands, events) = open(voice, &name, usage.clone(), limits);
    TtsLink { commands, events, name, usage }
}

struct Voice<S> {
    speaker: S,
    usage: Arc<Usage>,
    speeches: BTreeMap<Gen, Speech>,
    /// Generations that were cancelled or failed: what the conversation still sends of them, crossing the news, says nothing.
    over: VecDeque<Gen>,
}

/// A generation that is being said.
#[derive(Default)]
struct Speech {
    texts: Vec<String>,
    finished: bool,
    /// The vendor owes sound or the end.
    owed: bool,
    samples: u64,
    timed: bool,
    /// The word that the vendor is in, which may go on in its next message.
    word: String,
    word_end: u64,
}

impl Speech {
    fn hear(&mut self, r#gen: Gen, timed: &[(String, u64)], base: u64, out: &mut Outbox<TtsEvent>) {
        for (text, end_ms) in timed {
            self.timed = true;
            if text.chars().all(char::is_whitespace) {
                self.end_word(r#gen, out);
            } else {
                self.word.push_str(text);
                self.word_end = (base + end_ms * MS).min(self.samples);
            }
        }
    }

    fn end_word(&mut self, r#gen: Gen, out: &mut Outbox<TtsEvent>) {
        let text = std::mem::take(&mut self.word);
        if !text.is_empty() {
            out.events.push(TtsEvent::Piece { r#gen, text, end_sample: self.word_end });
        }
    }
}

impl<S: Speaker> Voice<S> {
    fn end(&mut self, r#gen: Gen) {
        self.over.push_back(r#gen);
        if self.over.len() > REMEMBERED {
            self.over.pop_front();
        }
    }

    fn say(&self, r#gen: Gen, first: bool, text: &str, frames: &mut Vec<Frame>) {
        self.usage.add(|usage| &usage.characters, text.chars().count() as u64);
        self.speaker.speak(r#gen, first, text, frames);
    }

    fn sound(&mut self, r#gen: Gen, pcm: &[i16], timed: &[(String, u64)], done: bool, out: &mut Outbox<TtsEvent>) {
        // A late message of a cancelled generation ends here.
        let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
        let base = speech.samples;
        speech.samples += pcm.len() as u64;
        if !pcm.is_empty() {
            self.usage.add(|usage| &usage.audio_out_ms, pcm.len() as u64 / MS);
            speech.owed = speech.finished;
        }
        out.events.extend(pcm.chunks(LONGEST).map(|chunk| TtsEvent::Audio { r#gen, pcm: chunk.into() }));
        speech.hear(r#gen, timed, base, out);
        if done && let Some(mut speech) = self.speeches.remove(&r#gen) {
            speech.end_word(r#gen, out);
            if !speech.timed && !speech.texts.is_empty() {
                out.events.push(TtsEvent::Piece { r#gen, text: speech.texts.join(" "), end_sample: speech.samples });
            }
            if speech.finished {
                out.events.push(TtsEvent::Done { r#gen });
            } else {
                // An end that nobody asked for: the vendor has dropped the context.
                self.end(r#gen);
                out.events.push(TtsEvent::Error { r#gen, reason: "the vendor ended the context".into(), retry: true });
            }
        }
    }
}

impl<S: Speaker> Protocol for Voice<S> {
    type Command = TtsCommand;
    type Event = TtsEvent;
    const KEEP_ALIVE: Duration = S::KEEP_ALIVE;

    fn door(&self) -> Door {
        self.speaker.door()
    }

    fn handle_open(&mut self, _: Duration, out: &mut Outbox<TtsEvent>) {
        for (&r#gen, speech) in &self.speeches {
            for (index, text) in speech.texts.iter().enumerate() {
                self.say(r#gen, index == 0, text, &mut out.frames);
            }
            if speech.finished {
                self.speaker.finish(r#gen, &mut out.frames);
            }
        }
    }

    fn handle_command(&mut self, command: TtsCommand, online: bool, out: &mut Outbox<TtsEvent>) {
        match command {
            TtsCommand::Speak { r#gen, .. } | TtsCommand::Finish { r#gen } if self.over.contains(&r#gen) => {}
            TtsCommand::Speak { r#gen, text } => {
                if text.trim().is_empty() {
                    return;
                }
                if !self.speeches.contains_key(&r#gen) && self.speeches.len() >= S::CONTEXTS {
                    self.end(r#gen);
                    out.events.push(TtsEvent::Error {
                        r#gen,
                        reason: "too many generations at a time".into(),
                        retry: true,
                    });
                    return;
                }
                let first = self.speeches.get(&r#gen).is_none_or(|speech| speech.texts.is_empty());
                if online {
                    self.say(r#gen, first, &text, &mut out.frames);
                }
                let speech = self.speeches.entry(r#gen).or_default();
                speech.texts.push(text);
                speech.owed = true;
            }
            TtsCommand::Finish { r#gen } => match self.speeches.get_mut(&r#gen) {
                Some(speech) => {
                    speech.finished = true;
                    speech.owed = true;
                    if online {
                        self.speaker.finish(r#gen, &mut out.frames);
                    }
                }
                // Nothing was to be said.
                None => out.events.push(TtsEvent::Done { r#gen }),
            },
            TtsCommand::Cancel { r#gen } => {
                self.end(r#gen);
                if self.speeches.remove(&r#gen).is_some() && online {
                    self.speaker.cancel(r#gen, &mut out.frames);
                }
            }
        }
    }

    fn handle_text(&mut self, text: &str, out: &mut Outbox<TtsEvent>) -> Result<(), Fault> {
        match self.speaker.decode(text)? {
            Heard::Sound { r#gen, pcm, timed, done } => self.sound(r#gen, &pcm, &timed, done, out),
            Heard::Nothing => {}
            Heard::Strange => out.strange += 1,
        }
        Ok(())
    }

    /// A generation of which nothing has been heard is said again; one that broke in the middle cannot be continued.
    fn handle_lost(&mut self, fault: &Fault, last: bool, out: &mut Outbox<TtsEvent>) {
        let mut over = Vec::new();
        self.speeches.retain(|&r#gen, speech| {
            let keep = !last && speech.samples == 0;
            if !keep {
                over.push(r#gen);
                out.events.push(TtsEvent::Error { r#gen, reason: fault.reason.clone(), retry: fault.retry });
            }
            keep
        });
        over.into_iter().for_each(|r#gen| self.end(r#gen));
    }

    fn waiting(&self) -> Option<Wait> {
        let (_, speech) = self.speeches.iter().find(|(_, speech)| speech.owed)?;
        Some(if speech.samples == 0 { Wait::FirstByte } else { Wait::Next })
    }

    fn keep_alive(&self) -> Option<Frame> {
        self.speaker.keep_alive(self.speeches.keys().next().copied())
    }

    fn farewell(&self) -> Option<Frame> {
        self.speaker.farewell()
    }

    fn judge_close(&self, code: Option<u16>, reason: &str) -> Fault {
        self.speaker.judge_close(code, reason)
    }

    fn down(fault: &Fault) -> TtsEvent {
        TtsEvent::Down { reason: fault.reason.clone(), retry: fault.retry }
    }
}
