//! One table of all timers. They are not set and cleared but read from the state, so that none can be forgotten in either way.

use serde::{Deserialize, Serialize};

use super::Turns;
use super::state::{Caller, Mode};
use crate::Ms;

/// A short gap in which an endless caller may be answered.
const SHORT_GAP: Ms = 250;

/// What can come due; of two that are due together the earlier in this list runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Timer {
    /// The caller's turn has ended.
    Endpoint,
    /// A partial has stood still for long enough to prepare an answer.
    Speculate,
    /// Voice without words.
    NoWords,
    /// The agent goes on after a burst of voice.
    Resume,
    /// Voice contests the floor for too long.
    Contest,
    /// A single word, or voice alone, has become an interruption.
    OneWord,
    /// Voice without a new word.
    Stuck,
    /// The caller talks for too long.
    TooLong,
    /// The answer takes its time.
    ThinkFiller,
    /// The second provider is asked.
    Hedge,
    /// There is no answer.
    Fail,
    /// Text, but no sound of it.
    Voice,
    /// Playout is empty.
    Underrun,
    /// A tool takes its time.
    ToolFiller,
    /// A tool takes too long.
    ToolCap,
    /// Nobody speaks.
    Silence,
    /// Nobody speaks after a hold.
    Back,
    /// No further key.
    KeyGap,
    /// Room after the goodbye.
    Linger,
    /// A playout mark is missing.
    MarkSlack,
    /// Who answered.
    Screening,
    /// A minute before the longest call ends.
    LastMinute,
    /// The longest call.
    MaxCall,
}

impl Turns {
    /// Every timer that runs in this state.
    pub(super) fn timers(&self) -> [Option<(Ms, Timer)>; 23] {
        let named = |timer: Timer, due: Option<Ms>| due.map(|due| (due, timer));
        if self.is_closed() {
            let mut only = [None; 23];
            only[0] = named(Timer::ToolCap, self.tool_cap());
            return only;
        }
        let [resume, contest, one_word] = self.contest_timers();
        let [filler, hedge, fail, voice] = self.thinking_timers();
        [
            named(Timer::Endpoint, self.endpoint()),
            named(Timer::Speculate, self.speculation_due()),
            named(Timer::NoWords, self.no_words()),
            named(Timer::Resume, resume),
            named(Timer::Contest, contest),
            named(Timer::OneWord, one_word),
            named(Timer::Stuck, self.stuck_at()),
            named(Timer::TooLong, self.too_long()),
            named(Timer::ThinkFiller, filler),
            named(Timer::Hedge, hedge),
            named(Timer::Fail, fail),
            named(Timer::Voice, voice),
            named(Timer::Underrun, self.dry()),
            named(Timer::ToolFiller, self.tool_filler_timer()),
            named(Timer::ToolCap, self.tool_cap()),
            named(Timer::Silence, self.silence_at),
            named(Timer::Back, self.back_at.filter(|_| matches!(self.mode, Mode::Normal))),
            named(Timer::KeyGap, self.key_gap()),
            named(Timer::Linger, self.linger_at),
            named(Timer::MarkSlack, self.mark_overdue()),
            named(Timer::Screening, self.screening_timer()),
            named(Timer::LastMinute, self.warn_at.filter(|_| matches!(self.mode, Mode::Normal))),
            named(Timer::MaxCall, self.over_at),
        ]
    }

    pub(super) fn fire(&mut self, timer: Timer, now: Ms) {
        match timer {
            Timer::Endpoint => self.endpoint_due(now),
            // Run late: the turn has ended in the meantime.
            Timer::Speculate if self.endpoint().is_some_and(|end| end <= now) => self.endpoint_due(now),
            Timer::Speculate => self.speculate(now),
            Timer::NoWords => self.drop_noise(now),
            Timer::Resume => self.resume_due(now),
            Timer::Contest => self.contest_due(now),
            Timer::OneWord => self.judge(now),
            Timer::Stuck => self.stuck(now),
            Timer::TooLong => self.take_floor(now),
            Timer::ThinkFiller => self.think_filler(),
            Timer::Hedge => self.hedge(),
            Timer::Fail => self.think_fail(now),
            Timer::Voice | Timer::Underrun => self.voice_stalls(),
            Timer::ToolFiller => self.tool_filler(now),
            Timer::ToolCap => self.tool_timed_out(now),
            Timer::Silence => self.silence_due(now),
            Timer::Back => self.back_due(now),
            Timer::KeyGap => self.keys_end(now),
            Timer::Linger => self.linger_due(now),
            Timer::MarkSlack => self.mark_lost(now),
            Timer::Screening => self.screening_due(now),
            Timer::LastMinute => self.warn_due(now),
            Timer::MaxCall => self.over_due(now),
        }
    }

    fn no_words(&self) -> Option<Ms> {
        match &self.caller {
            Caller::Gap(draft) if draft.words.is_empty() => {
                Some(self.last_voice.max(draft.start) + self.config.no_words)
            }
            _ => None,
        }
    }

    fn stuck_at(&self) -> Option<Ms> {
        let Caller::Talking(draft) = &self.caller else { return None };
        // Without a recogniser no word can be missing; the vendor has much longer to say that a turn is over.
        let patience = if self.config.recogniser { 1 } else { 5 };
        Some(draft.edge.max(draft.word_at.unwrap_or(0)) + self.config.stuck * patience)
    }

    fn too_long(&self) -> Option<Ms> {
        let draft = match &self.caller {
            Caller::Talking(draft) | Caller::Gap(draft) if !draft.words.is_empty() && !self.ending => draft,
            _ => return None,
        };
        let hard = (self.config.too_long_hard > 0).then_some(draft.start + self.config.too_long_hard);
        let in_gap = matches!(self.caller, Caller::Gap(_)) && self.config.too_long > 0;
        let soft = in_gap.then(|| (draft.start + self.config.too_long).max(self.last_voice + SHORT_GAP));
        [hard, soft].into_iter().flatten().min()
    }

    fn dry(&self) -> Option<Ms> {
        let super::state::Agent::Speaking(speech) = &self.agent else { return None };
        speech.dry_since.filter(|_| !speech.thought.revoiced).map(|since| since + self.config.underrun)
    }

    fn voice_stalls(&mut self) {
        let r#gen = match &self.agent {
            super::state::Agent::Thinking(thought) => Some(thought.r#gen),
            _ => self.speaking(),
        };
        if let Some(r#gen) = r#gen {
            self.voice_error(r#gen);
        }
    }
}
