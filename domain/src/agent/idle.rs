//! What the document may say and this version does not do yet. Nothing is silent: whoever sets one of these away from its
//! default is told. A field leaves this table in the commit that makes it work.

use serde_json::Value;

use super::fault::Warning;
use super::tools::ToolKind;
use super::{AgentSpec, Mode};

/// Path and what happens instead.
const IDLE: &[(&str, &str)] = &[
    ("first_speaker", "only `agent` and `caller` work; the model does not write greetings yet"),
    ("greeting.delay_ms", "the greeting begins at once"),
    ("greeting.wait_for_caller_ms", "the greeting does not wait for the callee"),
    ("language.also", "the language stays the primary one"),
    ("language.switch", "the language stays the primary one"),
    ("language.voices", "the voice stays the same"),
    ("stt.fallbacks", "there is no fail-over yet"),
    ("stt.no_progress_ms", "there is no fail-over yet"),
    ("llm.fallbacks", "there is no fail-over yet"),
    ("tts.fallbacks", "there is no fail-over yet"),
    ("tts.volume_db", "the voice is as loud as it is"),
    ("tts.cache", "phrases are synthesised each time"),
    ("realtime", "calls run through recogniser, model and voice"),
    ("speech.pronunciations", "words are said as the voice says them"),
    ("speech.background", "there is silence behind the voice"),
    ("speech.background_db", "there is silence behind the voice"),
    ("turn.barge_in.pause_on_onset", "speech always pauses at the onset"),
    ("turn.barge_in.dtmf", "a key always interrupts"),
    ("dtmf.collect", "keys always reach model and flow"),
    ("dtmf.terminator", "the terminator is #"),
    ("dtmf.max_digits", "the flow says how many digits it takes"),
    ("recording.channels", "recordings are stereo"),
    ("consent", "nothing is said about the recording"),
    ("redaction", "nothing is taken out"),
    ("limits.idle_timeout_ms", "there are no web sessions yet"),
    ("limits.max_concurrent", "calls of one agent are not counted"),
    ("voicemail", "machines are not told from people yet"),
    ("degraded", "there is no degraded mode yet"),
    ("hooks", "hooks of agents are not called yet"),
];

/// Kinds of tools that run in calls.
const RUNNING: &[ToolKind] = &[
    ToolKind::BookSlot,
    ToolKind::CollectLead,
    ToolKind::HangUp,
    ToolKind::Http,
    ToolKind::MarkDoNotCall,
    ToolKind::SendDtmf,
    ToolKind::TakeMessage,
    ToolKind::Transfer,
];

pub(super) fn warnings(agent: &AgentSpec) -> Vec<Warning> {
    let (document, bare) = (agent.document(), AgentSpec::default().document());
    let differs = |path: &str| at(&document, path) != at(&bare, path);
    let mut warnings: Vec<Warning> = IDLE
        .iter()
        .filter(|(path, _)| differs(path))
        .filter(|(path, _)| *path != "first_speaker" || agent.first_speaker == super::FirstSpeaker::AgentGenerated)
        .map(|(path, instead)| Warning::new(*path, format!("not acted upon in this version: {instead}")))
        .collect();
    if agent.mode == Mode::Realtime {
        warnings.push(Warning::new(
            "mode",
            "not acted upon in this version: calls run through recogniser, model and voice",
        ));
    }
    for (n, transfer) in agent.transfers.iter().enumerate().filter(|(_, transfer)| !transfer.hours.is_null()) {
        let message = format!("not acted upon in this version: {} is called at any hour", transfer.name);
        warnings.push(Warning::new(format!("transfers[{n}].hours"), message));
    }
    for (n, tool) in agent.tools.iter().enumerate() {
        if tool.enabled && !RUNNING.contains(&tool.kind) {
            let message = format!("tools of kind {} answer with an error in this version", tool.kind);
            warnings.push(Warning::new(format!("tools[{n}].kind"), message));
        }
    }
    warnings
}

/// Every path of the table; for the test that none of them is misspelt.
#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    IDLE.iter().map(|(path, _)| *path)
}

pub(super) fn at<'v>(document: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(document, |value, key| &value[key])
}
