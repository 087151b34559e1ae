//! The agent's words about turns, voice and keys as the numbers of the turn machine and the ear.
//!
//! A field at its default leaves the machine's own table, which is finer than one number; a field that was set replaces it.

use domain::AgentSpec;
use domain::agent::turn::{BargeInMode, EndPolicy, TooLong, Turn, VadEngine};

use crate::Ms;
use crate::turn::{Ends, TurnConfig};
use crate::vad::{Engine, VadConfig};

/// One judgement of the ear, ms.
const CHUNK: u64 = 32;
/// A pause in speech is this much less likely to be speech than its beginning was.
const STOP_BELOW: f32 = 0.15;

/// A tool's answer may take so much longer than the tool, ms.
const TOOL_GRACE: u64 = 2_000;

/// How to listen to this agent's callers.
#[must_use]
pub fn ear(agent: &AgentSpec) -> VadConfig {
    let vad = &agent.vad;
    let start = vad.threshold as f32;
    VadConfig {
        engine: match vad.engine {
            VadEngine::Auto | VadEngine::Neural => Engine::Silero,
            VadEngine::Energy => Engine::Energy,
        },
        start,
        stop: (start - STOP_BELOW).max(start / 2.0),
        // At most 500 ms, so the cast keeps the value.
        start_chunks: vad.min_speech_ms.div_ceil(CHUNK).max(1) as u32,
        ..VadConfig::default()
    }
}

/// A number only if somebody chose it.
fn chosen<T: PartialEq>(value: T, default: T) -> Option<T> {
    (value != default).then_some(value)
}

pub(super) fn turns(agent: &AgentSpec) -> TurnConfig {
    let own = TurnConfig::default();
    let turn = &agent.turn;
    let default = Turn::default();
    let (barge_in, usual) = (&turn.barge_in, &default.barge_in);
    let voice_alone = matches!(barge_in.mode, BargeInMode::Vad | BargeInMode::Duration);
    let only_voice = chosen(barge_in.min_speech_ms, usual.min_speech_ms);
    let (too_long, too_long_hard) = match turn.caller_too_long {
        TooLong::Ignore => (0, 0),
        TooLong::Interrupt => (turn.caller_too_long_ms / 2, turn.caller_too_long_ms),
    };
    let first_token = chosen(agent.llm.first_token_ms, 2_500);
    let own_words = |words: &[String], usual: &[String]| {
        words.iter().filter(|word| !usual.contains(word)).map(|word| word.to_lowercase()).collect()
    };
    let tools = || agent.tools.iter().filter(|tool| tool.enabled);
    let mut config = TurnConfig {
        ends: ends(turn),
        interruptible: barge_in.mode != BargeInMode::Off,
        voice_confirms: voice_alone,
        // Any voice: as soon as it is more than a click.
        voice_only: match barge_in.mode {
            BargeInMode::Vad => only_voice.unwrap_or(120),
            BargeInMode::Duration => barge_in.min_speech_ms,
            _ => only_voice.unwrap_or(own.voice_only),
        },
        min_words: u8::try_from(barge_in.min_words).unwrap_or(u8::MAX),
        never: own_words(&barge_in.never, &usual.never),
        always: own_words(&barge_in.always, &usual.always),
        contest: chosen(barge_in.decide_within_ms, usual.decide_within_ms).unwrap_or(own.contest),
        speculations: if turn.end.eager { own.speculations } else { 0 },
        think_hedge: first_token.unwrap_or(own.think_hedge),
        think_filler: first_token.map_or(own.think_filler, |ms| ms / 2),
        voice_stall: agent.tts.first_byte_ms,
        key_gap: chosen(agent.dtmf.timeout_ms, 3_000).unwrap_or(own.key_gap),
        too_long,
        too_long_hard,
        max_call: agent.limits.max_duration_ms,
        tool_filler: tools().map(|tool| tool.filler.after_ms).min().unwrap_or(own.tool_filler),
        // Whoever runs the tool ends it; this is for one that never comes back.
        tool_cap: tools()
            .map(|tool| tool.timeout_ms + TOOL_GRACE)
            .max()
            .map_or(own.tool_cap, |cap| cap.max(own.tool_cap)),
        ..own
    };
    silence(turn, &default, &mut config);
    config
}

fn ends(turn: &Turn) -> Ends {
    let (end, usual) = (&turn.end, Turn::default().end);
    let silent = matches!(end.policy, EndPolicy::Silence);
    Ends {
        silence: silent.then_some(end.silence_ms),
        pace: matches!(end.policy, EndPolicy::Adaptive),
        min: chosen(end.min_ms, usual.min_ms),
        max: chosen(end.max_ms, usual.max_ms),
        punctuated: chosen(end.punctuated_ms, usual.punctuated_ms),
        unpunctuated: chosen(end.unpunctuated_ms, usual.unpunctuated_ms),
        digits: chosen(end.expect.digits_ms, usual.expect.digits_ms),
        email: chosen(end.expect.email_ms, usual.expect.email_ms),
        yes_no: chosen(end.expect.yes_no_ms, usual.expect.yes_no_ms),
        date: chosen(end.expect.date_ms, usual.expect.date_ms),
    }
}

/// Longer than any call: what is put there does not happen.
const NEVER: Ms = 1 << 40;

/// The machine asks twice, then hangs up; the agent says when the first question comes and when the end.
fn silence(turn: &Turn, usual: &Turn, config: &mut TurnConfig) {
    let (asked, default) = (&turn.silence, &usual.silence);
    config.silence_first = chosen(asked.prompt_after_ms, default.prompt_after_ms);
    match chosen(asked.hang_up_after_ms, default.hang_up_after_ms) {
        None => {}
        Some(0) => config.silence_last = NEVER,
        Some(end) => {
            let rest = end.saturating_sub(asked.prompt_after_ms);
            config.silence_second = rest / 2;
            config.silence_last = rest - rest / 2;
        }
    }
}
