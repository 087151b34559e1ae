//! The built-in recogniser of one conversation: it listens while somebody speaks, with the grammar of what is expected.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use codecs::pcm::Frame;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Speech;
use super::wire::{Reply, Request};
use super::worker::Port;
use crate::Ms;
use crate::flow::from_phrases;
use crate::stt::{Hints, SttCommand, SttEvent, SttLink};

/// Audio kept from before the onset: 400 ms.
const PRE_ROLL: usize = 20;
/// Within a fluent utterance people pause for up to 240 ms; a pause is its end when it is longer than this.
const PAUSE: Ms = 320;
/// The same if no audio comes that could tell the time.
const PAUSE_BLIND: Duration = Duration::from_millis(400);
/// A recogniser that does not answer in this time has lost the utterance.
const ANSWER: Duration = Duration::from_secs(3);
/// Longest utterance: music and babble never pause.
const LONGEST: Ms = 15_000;

pub(crate) fn open(speech: Speech) -> SttLink {
    let (commands, inbox) = mpsc::channel(512);
    let (outbox, events) = mpsc::unbounded_channel();
    let (replies, from_worker) = mpsc::unbounded_channel();
    let port = speech.worker().open(speech.id(), replies);
    let _ = outbox.send(SttEvent::Ready { took_ms: 0 });
    let listener = Listener {
        port,
        outbox,
        grammar: Arc::from(from_phrases(std::iter::empty())),
        recent: VecDeque::with_capacity(PRE_ROLL),
        position: 0,
        number: 0,
        hearing: Hearing::Idle,
        waiting: VecDeque::new(),
    };
    tokio::spawn(listener.run(inbox, from_worker, speech));
    SttLink { commands, events, name: "builtin/pocketsphinx".to_owned(), usage: Default::default() }
}

#[derive(Debug)]
enum Hearing {
    Idle,
    /// Somebody speaks.
    Open {
        since: Ms,
    },
    /// Somebody has stopped speaking, perhaps for a breath.
    Pause {
        since: Ms,
        voice_until: Ms,
        blind: Instant,
    },
}

/// An utterance that has ended and not been answered.
#[derive(Debug)]
struct Asked {
    number: u32,
    end: Ms,
    deadline: Instant,
}

struct Listener {
    port: Port,
    outbox: mpsc::UnboundedSender<SttEvent>,
    grammar: Arc<str>,
    recent: VecDeque<Frame>,
    /// End of the audio so far, in ms since answer; corrected by what the edges say.
    position: Ms,
    number: u32,
    hearing: Hearing,
    waiting: VecDeque<Asked>,
}

impl Listener {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<SttCommand>,
        mut replies: mpsc::UnboundedReceiver<Reply>,
        // Held so that the workers live as long as the link.
        _speech: Speech,
    ) {
        loop {
            let blind = match &self.hearing {
                Hearing::Pause { blind, .. } => Some(*blind),
                _ => None,
            };
            let deadline = self.waiting.front().map(|asked| asked.deadline).into_iter().chain(blind).min();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(reply) = replies.recv() => self.reply(reply),
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.overdue(Instant::now());
                }
            }
        }
        self.port.send(Request::Drop { session: self.port.id });
    }

    fn tell(&self, event: SttEvent) {
        // The conversation may be gone already; then the inbox closes, too.
        let _ = self.outbox.send(event);
    }

    fn command(&mut self, command: SttCommand) {
        match command {
            SttCommand::Audio(frame) => self.audio(frame),
            SttCommand::SpeechStarted { at } => self.started(at),
            SttCommand::SpeechEnded { at } => {
                if let Hearing::Open { since } = self.hearing {
                    self.position = self.position.max(at);
                    let blind = Instant::now() + PAUSE_BLIND;
                    self.hearing = Hearing::Pause { since, voice_until: at, blind };
                    self.check_pause();
                }
            }
            SttCommand::Flush => self.close(),
            SttCommand::Expect(hints) => self.grammar = grammar_of(&hints),
        }
    }

    fn audio(&mut self, frame: Frame) {
        self.position += 20;
        match self.hearing {
            Hearing::Idle => {
                if self.recent.len() == PRE_ROLL {
                    self.recent.pop_front();
                }
                self.recent.push_back(frame);
            }
            Hearing::Open { since } => {
                self.port.send(Request::Audio { session: self.port.id, pcm: frame.to_vec() });
                if self.position > since + LONGEST {
                    self.close();
                }
            }
            Hearing::Pause { .. } => {
                self.port.send(Request::Audio { session: self.port.id, pcm: frame.to_vec() });
                self.check_pause();
            }
        }
    }

    fn started(&mut self, at: Ms) {
        match self.hearing {
            Hearing::Idle => {
                // The first edge tells where on the call's clock our audio is, if the two differ.
                if self.position < at || self.position > at + 2000 {
                    self.position = at + 60;
                }
                self.number += 1;
                let session = self.port.id;
                self.port.send(Request::Begin { session, utterance: self.number, grammar: self.grammar.clone() });
                let pcm: Vec<i16> = self.recent.drain(..).flatten().collect();
                self.port.send(Request::Audio { session, pcm });
                self.hearing = Hearing::Open { since: at };
            }
            // Only a breath: the utterance goes on.
            Hearing::Pause { since, .. } => self.hearing = Hearing::Open { since },
            Hearing::Open { .. } => {}
        }
    }

    fn check_pause(&mut self) {
        if let Hearing::Pause { voice_until, .. } = self.hearing
            && self.position >= voice_until + PAUSE
        {
            self.close();
        }
    }

    /// Asks for the words of the open utterance.
    fn close(&mut self) {
        let end = match self.hearing {
            Hearing::Idle => return,
            Hearing::Open { .. } => self.position,
            Hearing::Pause { voice_until, .. } => voice_until,
        };
        self.hearing = Hearing::Idle;
        self.port.send(Request::End { session: self.port.id });
        self.waiting.push_back(Asked { number: self.number, end, deadline: Instant::now() + ANSWER });
    }

    fn overdue(&mut self, now: Instant) {
        if matches!(self.hearing, Hearing::Pause { blind, .. } if blind <= now) {
            self.close();
        }
        while self.waiting.front().is_some_and(|asked| asked.deadline <= now) {
            if let Some(asked) = self.waiting.pop_front() {
                self.tell(SttEvent::Nothing { end: asked.end });
            }
        }
    }

    /// The end of an answered utterance, with all that were asked before it and never answered.
    fn answered(&mut self, number: u32) -> Option<Ms> {
        while let Some(asked) = self.waiting.front() {
            if asked.number > number {
                return None;
            }
            let asked = self.waiting.pop_front()?;
            if asked.number == number {
                return Some(asked.end);
            }
            self.tell(SttEvent::Nothing { end: asked.end });
        }
        None
    }

    fn reply(&mut self, reply: Reply) {
        match reply {
            Reply::Partial { utterance, text } if utterance == self.number => {
                self.tell(SttEvent::Partial { text, end: self.position });
            }
            Reply::Final { utterance, sure, text } => {
                if let Some(end) = self.answered(utterance) {
                    self.tell(if text.is_empty() {
                        SttEvent::Nothing { end }
                    } else {
                        SttEvent::Final { text, end, sure }
                    });
                }
            }
            Reply::BadGrammar { utterance } => {
                tracing::warn!(grammar = &*self.grammar, "the recogniser refuses this grammar");
                if let Some(end) = self.answered(utterance) {
                    self.tell(SttEvent::Nothing { end });
                } else if utterance == self.number {
                    self.lose_open();
                }
            }
            Reply::Unknown { words } => {
                tracing::warn!(words, "words of a grammar are not in the dictionary and cannot be recognised");
            }
            Reply::Lost => {
                for asked in std::mem::take(&mut self.waiting) {
                    self.tell(SttEvent::Nothing { end: asked.end });
                }
                if !matches!(self.hearing, Hearing::Idle) {
                    self.lose_open();
                }
            }
            _ => {}
        }
    }

    /// The open utterance is lost; what is said from now on begins a new one at the next onset.
    fn lose_open(&mut self) {
        self.hearing = Hearing::Idle;
        self.tell(SttEvent::Nothing { end: self.position });
    }
}

fn grammar_of(hints: &Hints) -> Arc<str> {
    match &hints.grammar {
        Some(grammar) => grammar.clone(),
        None => Arc::from(from_phrases(hints.phrases.iter().map(String::as_str))),
    }
}
