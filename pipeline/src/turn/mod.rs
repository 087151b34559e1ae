//! Turn taking: who may speak, when the caller has finished, and what an interruption means — a machine without clock, audio or sockets.
//!
//! The driver hands in events with [`Turns::handle`], lets [`Turns::expire`] run when [`Turns::deadline`] has come, and carries out
//! what [`Turns::poll`] returns. Inputs of one time are handled before the timers of that time: a word that comes exactly at the
//! deadline saves the turn.

mod agent;
mod caller;
mod config;
mod endings;
mod ends;
mod fields;
mod floor;
mod generations;
mod keys;
mod machine;
mod screening;
mod state;
mod text;
mod timers;
mod tools;
// One word a line would hide the lists.
#[rustfmt::skip]
mod words;

use serde::{Deserialize, Serialize};

pub use config::TurnConfig;
pub use ends::Ends;
pub use fields::Field;
pub use machine::Turns;
pub use timers::Timer;

use crate::{Gen, Ms};

/// Number of a caller's turn; 0 is the time before the first one.
pub type Turn = u64;

/// Everything the machine is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum In {
    /// The ear formed an edge: voice since `at`.
    On {
        /// First voiced frame on the caller's audio.
        at: Ms,
    },
    /// The ear formed an edge: no voice since `at`.
    Off {
        /// Last voiced frame on the caller's audio.
        at: Ms,
    },
    /// A guess at the words since the last final; replaces the guess before it.
    Partial {
        /// The words.
        text: String,
        /// Where they end on the caller's audio, if the recogniser says so.
        end: Option<Ms>,
    },
    /// Words that will not change any more.
    Final {
        /// The words since the last final.
        text: String,
        /// Where they end on the caller's audio, if the recogniser says so.
        end: Option<Ms>,
    },
    /// The vendor thinks that the turn may be over.
    VendorEager {
        /// All words of the turn.
        text: String,
    },
    /// The vendor takes its last `VendorEager` back.
    VendorResumed,
    /// The vendor is sure that the turn is over.
    VendorEnd {
        /// All words of the turn.
        text: String,
    },
    /// A model's estimate that the turn has ended, for the words so far; replaces the estimate from the text.
    EndProb {
        /// 0 to 1.
        p: f32,
    },
    /// A telephone key was pressed.
    Key {
        /// `b'0'..=b'9'`, `b'*'`, `b'#'`, `b'A'..=b'D'`.
        digit: u8,
        /// When, on the caller's audio.
        at: Ms,
    },
    /// The first (or any) piece of text of a generation.
    Token {
        /// Its generation.
        r#gen: Gen,
    },
    /// The model wants a tool run.
    ToolCall {
        /// Its generation.
        r#gen: Gen,
        /// The model's id for the call; a second call of one id is ignored.
        id: String,
        /// The tool.
        name: String,
        /// Whether a barge-in may cancel it (read-only tools that are marked so).
        cancellable: bool,
    },
    /// The model has finished.
    LlmDone {
        /// Its generation.
        r#gen: Gen,
    },
    /// The model has failed.
    LlmError {
        /// Its generation.
        r#gen: Gen,
    },
    /// The first audio of a generation is ready, or (sent again) the length of all of it is known now.
    Audio {
        /// Its generation.
        r#gen: Gen,
        /// How long it lasts in all, once that is known.
        duration: Option<Ms>,
    },
    /// The last sample of a generation has been played.
    Mark {
        /// Its generation.
        r#gen: Gen,
    },
    /// Playout has run dry in the middle of a generation.
    Underrun {
        /// Its generation.
        r#gen: Gen,
    },
    /// Playout has samples again.
    Refill {
        /// Its generation.
        r#gen: Gen,
    },
    /// The voice cannot say the rest of a generation.
    VoiceError {
        /// Its generation.
        r#gen: Gen,
    },
    /// A tool has answered (or failed: that is an answer too).
    ToolResult {
        /// Which call.
        id: String,
    },
    /// The model wants to hang up after this generation's speech.
    EndCall {
        /// Its generation.
        r#gen: Gen,
    },
    /// What the caller is expected to say from now on.
    Expect(Field),
    /// These keys are an answer by themselves, whatever the field; an empty text means none.
    Keymap(String),
    /// The flow wants this said; it waits until the agent is free.
    Say {
        /// The text.
        text: String,
        /// Whether the caller cannot interrupt it.
        protected: bool,
        /// Whether the call ends after it.
        ends: bool,
        /// What whoever asked for it knows it by.
        id: Option<String>,
    },
    /// Somebody wants this said at once: what the agent says is cut.
    SayNow {
        /// The text.
        text: String,
        /// Whether the caller cannot interrupt it.
        protected: bool,
        /// What whoever asked for it knows it by.
        id: Option<String>,
    },
    /// The call ends behind these last words, whatever the caller says to them.
    Farewell {
        /// The text.
        text: String,
    },
    /// The model has been told something to speak about; named like a tool's result.
    Nudge {
        /// Its name.
        id: String,
    },
    /// The ear hears music, or no longer.
    Music(bool),
    /// The caller put us on hold by signalling, or took us back.
    Hold(bool),
    /// The line belongs to somebody else, or is ours again.
    Away(bool),
    /// The recogniser is lost; its successor gets the last seconds of audio again.
    SttDown,
    /// The call is answered.
    Answered {
        /// Whether the agent keeps silent until it is known who answered (outbound calls).
        screen: bool,
    },
    /// The ear heard an answering machine's beep end.
    Beep,
    /// The call is over.
    Bye,
}

/// What the caller said, in the way it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// Nothing new: the request follows from tool results alone.
    Nothing,
    /// Spoken words.
    Words(String),
    /// Telephone keys.
    Keys(String),
}

/// Everything the machine wants done, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Out {
    /// Fade the sounding generation out within 20 ms and keep its place.
    Pause {
        /// Which.
        r#gen: Gen,
    },
    /// Go on with the paused generation.
    Resume {
        /// Which.
        r#gen: Gen,
        /// From where.
        from: Place,
    },
    /// Nothing more of this generation is wanted: stop its model, its voice and its sound. Comes once per generation.
    Cancel {
        /// Which.
        r#gen: Gen,
        /// How much of it sounded, by the machine's own clock; `None` if nothing did.
        heard: Option<Ms>,
    },
    /// This generation may sound, from its first sample.
    Play {
        /// Which.
        r#gen: Gen,
    },
    /// Ask the model for an answer. A confirmed one replaces every confirmed one before it, save its twin.
    Generate {
        /// The new generation.
        r#gen: Gen,
        /// The turn it answers.
        turn: Turn,
        /// What the caller said in that turn.
        said: Said,
        /// A guess before the turn has ended: nothing of it may be heard, run, or kept until `Promote`.
        speculative: bool,
        /// Tool results that this request tells the model for the first time.
        results: Vec<String>,
        /// How to ask.
        manner: Manner,
    },
    /// A speculative generation is the answer now.
    Promote {
        /// Which.
        r#gen: Gen,
    },
    /// Ask the recogniser for a final at once.
    Flush,
    /// The caller has taken the floor from the agent: a new turn.
    Open {
        /// Its number.
        turn: Turn,
    },
    /// The caller goes on with a turn that was taken as finished; its next `Commit` replaces the earlier one.
    Reopen {
        /// Its number.
        turn: Turn,
    },
    /// A turn is complete.
    Commit {
        /// Its number.
        turn: Turn,
        /// What was said in it.
        said: Said,
    },
    /// The words of a committed turn were better understood later.
    Amend {
        /// Its number.
        turn: Turn,
        /// All its words.
        text: String,
    },
    /// What sounded like a turn was none.
    Drop(Why),
    /// Words go to the transcript without being answered.
    Record {
        /// The turn they would have been.
        turn: Turn,
        /// The words.
        text: String,
        /// Why nobody answers them.
        why: Unanswered,
    },
    /// Something without effect, for the event log.
    Note(Note),
    /// Run a tool; once per id.
    RunTool {
        /// Which call.
        id: String,
    },
    /// Stop a tool; its result is not wanted.
    CancelTool {
        /// Which call.
        id: String,
    },
    /// Synthesise a line. A filler sounds at once and belongs to the generation that is waited for; every other line waits for `Play`.
    Say {
        /// The generation its sound belongs to.
        r#gen: Gen,
        /// What.
        line: Line,
    },
    /// Synthesise a prompt of our own; `Play` follows when the floor is free.
    Prompt {
        /// The generation its sound belongs to.
        r#gen: Gen,
        /// Which.
        kind: Prompt,
    },
    /// The voice stalls: let the backup voice say what follows the last word that was sent.
    BackupVoice {
        /// Whose speech.
        r#gen: Gen,
    },
    /// The caller has talked for too long; the agent answers what is there.
    TakeFloor,
    /// Raise the ear's noise floor: this voice has no words.
    RaiseFloor,
    /// The line is on hold: expect no words, close the recogniser if that saves something.
    Hold(HoldWhy),
    /// The line is back.
    Unhold,
    /// Who answered an outbound call.
    Verdict(Answerer),
    /// A person has answered: begin.
    StartGreeting,
    /// The ending of the call is withdrawn.
    Stay,
    /// Hang up.
    Hangup(Cause),
    /// The machine has seen the end of the call; only records follow.
    Closed,
}

/// Where paused speech goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The sample after the last one that was heard.
    Same,
    /// The start of the word that was cut: after a longer pause half a word is not understood.
    WordStart,
}

/// How a request to the model is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// By the first provider.
    First,
    /// By the backup provider, because the first is late or has failed; with the instructions that the first was given.
    Backup,
    /// With the instruction to close an endless caller's speech.
    WrapUp,
}

/// Why a beginning turn was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Voice, but no words in it.
    Noise,
}

/// Why words are not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unanswered {
    /// The call ended first.
    CallOver,
    /// Keys were pressed after them.
    Keys,
    /// The line was put on hold.
    Hold,
}

/// Events without effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// Words that only say "I listen"; the agent goes on.
    Backchannel(String),
    /// Words that change nothing: too few, too late, or told before.
    Ignored(String),
    /// Words while keys are collected.
    DuringKeys(String),
    /// Words while the line is on hold.
    DuringHold(String),
    /// Audio of a generation that is no longer wanted.
    LateAudio(Gen),
    /// A tool call of a speculative generation waits for its promotion.
    ToolHeld {
        /// The generation.
        r#gen: Gen,
        /// Which call.
        id: String,
    },
    /// A tool runs on although the call has ended.
    ToolRunsOn(String),
    /// A result is kept for the caller's next turn.
    ResultKept(String),
    /// A result waits until the agent has finished its sentence.
    ResultWaits(String),
    /// A result nobody waits for.
    ResultIgnored(String),
    /// A result after the call; it goes to the record.
    ResultRecorded(String),
    /// A tool ran longer than it may; the model is told so.
    ToolTimedOut(String),
    /// A key nobody expects; the model sees it with the next turn.
    KeyStored(u8),
    /// The recogniser was lost.
    RecogniserLost,
    /// Playout never reported the end of this generation; it is taken as heard.
    MarkLost(Gen),
    /// A state without a way out was left by force: a fault of this machine, counted.
    Reset,
}

/// Lines the machine asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// Somebody's own words.
    Text {
        /// The words.
        text: String,
        /// What whoever asked for them knows them by.
        id: Option<String>,
    },
    /// A short sound of working on it.
    Filler,
    /// Neither model answers.
    Apology,
    /// Nobody speaks: goodbye, and the end.
    NobodyThere,
    /// The longest call is over: goodbye, and the end.
    TimeIsUp,
    /// For an answering machine.
    Voicemail,
    /// Name and reason, for a screening service.
    NameAndReason,
}

/// Prompts of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// Nobody has spoken, for the n-th time (from 1).
    Silence(u8),
    /// Fewer digits than asked for.
    TooFewDigits,
    /// After a hold.
    AreYouBack,
    /// A minute before the longest call ends.
    LastMinute,
}

/// What holds the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldWhy {
    /// Music in the caller's audio.
    Music,
    /// Signalling.
    Caller,
    /// Somebody else has the line.
    Away,
}

/// Who answered an outbound call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answerer {
    /// A person, with a short greeting.
    Human,
    /// Somebody who says nothing.
    SilentHuman,
    /// Speech too long for a greeting; the words will tell.
    ProbablyMachine,
    /// An answering machine that takes messages.
    Voicemail,
    /// A service that asks who calls and why.
    Screening,
    /// A menu of keys.
    Menu,
    /// A machine that takes no message.
    Unavailable,
}

/// Why the machine hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The agent ended the conversation.
    AgentEnded,
    /// The agent ended the conversation, and playout never reported the end of its goodbye.
    NoMark,
    /// The answering machine takes no message.
    MailboxUnavailable,
    /// The longest call is over.
    MaxCall,
}
