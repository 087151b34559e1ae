//! What the machine remembers: one value per state, each with its own data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Answerer, HoldWhy, Said, Turn};
use crate::{Gen, Ms};

/// Recognised words with the times they came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Words {
    pub(super) finals: Vec<String>,
    pub(super) partial: String,
    /// When the partial last changed.
    pub(super) partial_at: Ms,
    pub(super) final_at: Option<Ms>,
}

impl Words {
    pub(super) fn put(&mut self, text: &str, is_final: bool, now: Ms) {
        if is_final {
            self.finals.push(text.trim().to_owned());
            self.partial.clear();
            self.final_at = Some(now);
        } else if self.partial.trim() != text.trim() {
            text.trim().clone_into(&mut self.partial);
            self.partial_at = now;
        }
    }

    pub(super) fn text(&self) -> String {
        let parts: Vec<&str> = self
            .finals
            .iter()
            .map(String::as_str)
            .chain([self.partial.as_str()])
            .filter(|part| !part.is_empty())
            .collect();
        parts.join(" ")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.finals.iter().all(String::is_empty)
    }

    /// The last piece the recogniser gave.
    pub(super) fn last(&self) -> &str {
        if self.partial.is_empty() { self.finals.last().map_or("", String::as_str) } else { &self.partial }
    }
}

/// A caller's turn that is being built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) turn: Turn,
    pub(super) start: Ms,
    /// What was committed before the turn was reopened.
    pub(super) prefix: String,
    pub(super) words: Words,
    /// When the last voice edge reached us.
    pub(super) edge: Ms,
    /// When the words last changed.
    pub(super) word_at: Option<Ms>,
    /// Answers prepared so far.
    pub(super) speculations: u8,
    /// The vendor's flush was sent for this gap.
    pub(super) flushed: bool,
    /// The vendor's or a model's opinion holds for these words.
    pub(super) eager: bool,
    pub(super) p: Option<f32>,
    /// Pauses inside the turn.
    pub(super) pauses: Vec<Ms>,
    /// The voice that is on began inside a gap.
    pub(super) in_gap: bool,
}

impl Draft {
    pub(super) fn new(turn: Turn, start: Ms, now: Ms) -> Self {
        Self {
            turn,
            start,
            prefix: String::new(),
            words: Words::default(),
            edge: now,
            word_at: None,
            speculations: 0,
            flushed: false,
            eager: false,
            p: None,
            pauses: Vec::new(),
            in_gap: false,
        }
    }

    pub(super) fn text(&self) -> String {
        match (self.prefix.is_empty(), self.words.is_empty()) {
            (true, _) => self.words.text(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{} {}", self.prefix, self.words.text()),
        }
    }
}

/// Voice while the agent has the floor, not judged yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Contest {
    pub(super) onset: Ms,
    /// Voice in the bursts that have ended.
    pub(super) voiced: Ms,
    pub(super) words: Words,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Caller {
    Quiet,
    Tentative(Contest),
    Talking(Draft),
    Gap(Draft),
}

/// The turn that was committed last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Committed {
    pub(super) turn: Turn,
    pub(super) start: Ms,
    pub(super) prefix: String,
    pub(super) words: Words,
    pub(super) keys: bool,
    pub(super) last_voice: Ms,
    pub(super) at: Ms,
    /// A filler has been said for it.
    pub(super) filled: bool,
}

impl Committed {
    pub(super) fn text(&self) -> String {
        let mut draft = Draft::new(self.turn, self.start, self.at);
        draft.prefix.clone_from(&self.prefix);
        draft.words.clone_from(&self.words);
        draft.text()
    }
}

/// What a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    /// The answer to a committed turn.
    Turn,
    /// The answer to tool results.
    Results,
    /// A line or prompt of our own.
    Own,
}

/// The same request at a second provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Twin {
    pub(super) r#gen: Gen,
    pub(super) token: Option<Ms>,
}

/// A generation that the agent means to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Thought {
    pub(super) r#gen: Gen,
    pub(super) turn: Turn,
    pub(super) origin: Origin,
    pub(super) said: Said,
    pub(super) results: Vec<String>,
    /// When it was asked for, or confirmed.
    pub(super) since: Ms,
    pub(super) token: Option<Ms>,
    /// Its first audio is there.
    pub(super) ready: bool,
    /// A line of our own, synthesised beforehand: it may play without a first audio.
    pub(super) prepared: bool,
    pub(super) duration: Option<Ms>,
    /// It has called a tool.
    pub(super) tooling: bool,
    pub(super) twin: Option<Twin>,
    /// The backup provider has been asked.
    pub(super) hedged: bool,
    /// The backup voice has been asked.
    pub(super) revoiced: bool,
    /// Voice does not pause it.
    pub(super) protected: bool,
    /// It sounds even over the caller's voice.
    pub(super) over: bool,
    /// The call ends with its last sample, whatever anybody says.
    pub(super) closes: Option<super::Cause>,
    /// The line that it is: unheard, it goes back to where it waited.
    pub(super) line: Option<Waiting>,
}

impl Thought {
    pub(super) fn new(r#gen: Gen, turn: Turn, origin: Origin, now: Ms) -> Self {
        Self {
            r#gen,
            turn,
            origin,
            said: Said::Nothing,
            results: Vec::new(),
            since: now,
            token: None,
            ready: false,
            prepared: false,
            duration: None,
            tooling: false,
            twin: None,
            hedged: false,
            revoiced: false,
            protected: false,
            over: false,
            closes: None,
            line: None,
        }
    }
}

/// A generation that is being heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Speech {
    pub(super) thought: Thought,
    pub(super) started: Ms,
    /// Heard before the last pause.
    pub(super) played: Ms,
    /// Sounding since; `None` while paused.
    pub(super) sounding: Option<Ms>,
    pub(super) paused_at: Ms,
    pub(super) dry_since: Option<Ms>,
}

impl Speech {
    /// How much has been heard at `now`.
    pub(super) fn heard(&self, now: Ms) -> Ms {
        let end = self.dry_since.unwrap_or(now).min(now);
        let heard = self.played + self.sounding.map_or(0, |since| end.saturating_sub(since));
        self.thought.duration.map_or(heard, |duration| heard.min(duration))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Agent {
    Idle,
    Thinking(Thought),
    Speaking(Speech),
    Paused(Speech),
}

/// A generation before its turn has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Speculation {
    pub(super) thought: Thought,
    pub(super) text: String,
    /// Tool calls that wait for the promotion: id, cancellable.
    pub(super) tools: Vec<(String, bool)>,
    pub(super) done: bool,
    pub(super) ends: bool,
}

/// A tool that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) id: String,
    pub(super) cancellable: bool,
    pub(super) started: Ms,
}

/// Tools, and results that the model has not been told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tools {
    pub(super) running: Vec<Running>,
    pub(super) results: Vec<String>,
    /// The model failed to answer these results: they ride along with the next turn and ask for nothing by themselves.
    pub(super) muted: bool,
    pub(super) seen: BTreeSet<String>,
    pub(super) filler_at: Option<Ms>,
}

/// What is known about who answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Screen {
    pub(super) since: Ms,
    pub(super) speech: Option<Ms>,
    pub(super) words: Words,
    pub(super) verdict: Option<Answerer>,
    pub(super) beep: Option<Ms>,
}

/// Keys that are being collected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Collected {
    pub(super) turn: Turn,
    pub(super) keys: String,
    pub(super) last: Ms,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Mode {
    Normal,
    Screening(Screen),
    Keys(Collected),
    Held(HoldWhy),
    Closed,
}

/// A line of the flow that waits for its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) text: String,
    pub(super) protected: bool,
    pub(super) ends: bool,
    pub(super) id: Option<String>,
}
