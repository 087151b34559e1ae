//! The engines of the stages: recogniser, model, voice, and a model that replaces all three.

use serde_json::{Map, Value};

use super::form;
use super::shape::{any, block, chars, one_of, range};

/// Recognisers that the API knows; which of them this build has, its roster says.
pub const STT: &[&str] =
    &["auto", "builtin", "deepgram", "openai", "elevenlabs", "assemblyai", "cartesia", "openai_compatible", "exec"];
/// Models that the API knows; `flow` is none.
pub const LLM: &[&str] = &["auto", "flow", "openai", "anthropic", "gemini", "openai_compatible"];
/// Voices that the API knows.
pub const TTS: &[&str] =
    &["auto", "builtin", "deepgram", "openai", "elevenlabs", "cartesia", "openai_compatible", "exec"];
/// Speech-to-speech models that the API knows.
pub const REALTIME: &[&str] = &["openai", "gemini", "ultravox"];

block! {
    /// A fall-back of a stage, tried in order.
    Fallback {
        /// As in the stage.
        provider: String = String::new(), chars(1, 64).required();
        /// The provider's own when null.
        model: Option<String> = None, chars(1, 200);
        /// For voices.
        voice: Option<String> = None, chars(1, 200);
        /// A stored credential; the operator's key when null.
        credential_id: Option<String> = None, chars(36, 36).form(form::uuid);
        /// The provider's own settings.
        settings: Map<String, Value> = Map::new(), any();
    }
}

block! {
    /// The recogniser.
    Stt {
        /// `auto`: the operator's default if it has a key, else the offline engine.
        provider: String = "auto".into(), one_of(STT);
        /// The provider's own when null.
        model: Option<String> = None, chars(1, 200);
        /// A stored credential; the operator's key when null.
        credential_id: Option<String> = None, chars(36, 36).form(form::uuid);
        /// The provider's own settings (`GET providers`).
        settings: Map<String, Value> = Map::new(), any();
        /// Words to expect.
        keywords: Vec<String> = Vec::new(), chars(1, 60).items(200);
        /// Tried in order; the last seconds are replayed.
        fallbacks: Vec<Fallback> = Vec::new(), any().items(4);
        /// The caller speaks and no partial comes for so long: fail over.
        no_progress_ms: u64 = 3_000, range(500.0, 15_000.0);
    }
}

block! {
    /// The model.
    Llm {
        /// `flow`: no model. `auto`: the operator's default if it has a key, else no model.
        provider: String = "auto".into(), one_of(LLM);
        /// The provider's own when null.
        model: Option<String> = None, chars(1, 200);
        /// A stored credential; the operator's key when null.
        credential_id: Option<String> = None, chars(36, 36).form(form::uuid);
        /// How freely it chooses its words.
        temperature: f64 = 0.4, range(0.0, 2.0);
        /// Of one turn.
        max_output_tokens: u64 = 400, range(16.0, 4_096.0);
        /// Older turns are left out.
        context_turns: u64 = 40, range(2.0, 400.0);
        /// The provider's own settings (`GET providers`).
        settings: Map<String, Value> = Map::new(), any();
        /// Tried in order.
        fallbacks: Vec<Fallback> = Vec::new(), any().items(4);
        /// No token for so long: fail over.
        first_token_ms: u64 = 2_500, range(300.0, 15_000.0);
    }
}

block! {
    /// The voice.
    Tts {
        /// `auto`: the operator's default if it has a key, else the offline engine.
        provider: String = "auto".into(), one_of(TTS);
        /// An id from `GET voices`.
        voice: String = "builtin:slt".into(), chars(1, 200);
        /// The provider's own when null.
        model: Option<String> = None, chars(1, 200);
        /// 1 is as the voice is.
        speed: f64 = 1.0, range(0.5, 2.0);
        /// 0 is as the voice is.
        volume_db: f64 = 0.0, range(-20.0, 6.0);
        /// A stored credential; the operator's key when null.
        credential_id: Option<String> = None, chars(36, 36).form(form::uuid);
        /// The provider's own settings (`GET providers`).
        settings: Map<String, Value> = Map::new(), any();
        /// Keep repeated phrases.
        cache: bool = true, any();
        /// Tried in order, each with its own voice.
        fallbacks: Vec<Fallback> = Vec::new(), any().items(4);
        /// No sound for so long: fail over.
        first_byte_ms: u64 = 1_500, range(200.0, 10_000.0);
    }
}

block! {
    /// A speech-to-speech model; used when `mode` is `realtime`.
    Realtime {
        /// Whose.
        provider: String = "openai".into(), one_of(REALTIME);
        /// The provider's own when null.
        model: Option<String> = None, chars(1, 200);
        /// The provider's own when null.
        voice: Option<String> = None, chars(1, 200);
        /// How freely it chooses its words.
        temperature: f64 = 0.8, range(0.0, 2.0);
        /// A stored credential; the operator's key when null.
        credential_id: Option<String> = None, chars(36, 36).form(form::uuid);
        /// The provider's own settings.
        settings: Map<String, Value> = Map::new(), any();
        /// Tried in order.
        fallbacks: Vec<Fallback> = Vec::new(), any().items(3);
        /// Last resort: recogniser, model and voice.
        fall_to_pipeline: bool = true, any();
    }
}

block! {
    /// One word that a voice says wrong by itself.
    Pronunciation {
        /// As it is written.
        word: String = String::new(), chars(1, 100).required();
        /// As it is said: a plain respelling, or phonemes.
        say: String = String::new(), chars(1, 200).required();
        /// What `say` is written in.
        alphabet: String = "text".into(), one_of(&["text", "ipa"]);
    }
}

block! {
    /// What is heard beside the answers.
    Speech {
        /// Words that the voice says wrong by itself.
        pronunciations: Vec<Pronunciation> = Vec::new(), any().items(200);
        /// A room behind the voice.
        background: String = "none".into(), one_of(&["none", "office", "cafe", "street", "call_center"]);
        /// How loud that room is.
        background_db: f64 = -32.0, range(-60.0, -10.0);
        /// Said in turn while something takes its time.
        fillers: Vec<String> = vec!["One moment.".into()], chars(1, 200).items(10);
    }
}
