//! What is known beforehand, and what is kept and made of a call: knowledge, recording, redaction, analysis, leads.

use serde_json::Value;

use super::engines::Fallback;
use super::form;
use super::shape::{any, block, chars, choice, one_of, range};
use crate::call::words;

words! {
    /// When knowledge is looked up.
    KnowledgeMode {
        /// Before every answer.
        Always = "always",
        /// When the model asks.
        Tool = "tool",
    }
}
choice!(KnowledgeMode);

block! {
    /// The documents of the agent.
    Knowledge {
        /// Use them if there are any.
        enabled: bool = true, any();
        /// So many passages.
        top_k: u64 = 4, range(1.0, 20.0);
        /// None that fit worse: 1 is the best passage of all.
        min_score: f64 = 0.3, range(0.0, 1.0);
        /// So much text together.
        max_chars: u64 = 4_000, range(200.0, 20_000.0);
        /// When.
        mode: KnowledgeMode = KnowledgeMode::Always, any();
    }
}

block! {
    /// What is kept of the audio.
    Recording {
        /// Record calls of this agent.
        enabled: bool = true, any();
        /// As what.
        format: String = "ogg_opus".into(), one_of(&["ogg_opus", "wav"]);
        /// Stereo: caller left, agent right.
        channels: String = "stereo".into(), one_of(&["stereo", "mono"]);
        /// The tenant's setting when null; 0: until it was analysed.
        retention_days: Option<u64> = None, range(0.0, 3_650.0);
    }
}

block! {
    /// What is taken out before anything reaches a disk.
    Redaction {
        /// Whether.
        enabled: bool = false, any();
        /// What.
        categories: Vec<String> = ["card", "ssn"].map(String::from).into(), one_of(&["card", "ssn", "bank_account", "digits", "email", "phone", "dob", "password"]).items(8);
        /// Shortest number of category `digits`.
        digits_min: u64 = 7, range(4.0, 20.0);
        /// Where.
        targets: Vec<String> = ["transcript", "log", "recording"].map(String::from).into(), one_of(&["transcript", "log", "recording", "model"]).items(4);
        /// What is heard instead.
        recording_style: String = "silence".into(), one_of(&["silence", "beep"]);
    }
}

block! {
    /// What is found out after the call.
    Analysis {
        /// Whether.
        enabled: bool = true, any();
        /// Shorter calls are skipped.
        min_turns: u64 = 2, range(0.0, 50.0);
        /// What.
        items: Vec<String> = ITEMS.iter().map(|item| (*item).to_owned()).collect(), one_of(ITEMS).items(6);
        /// Empty: the model judges by the goal in the prompt.
        success_criterion: String = String::new(), chars(0, 2_000);
        /// JSON Schema of what is to be extracted: an object, at most 40 properties, 4 deep.
        schema: Value = Value::Null, any();
        /// The agent's own model when null.
        llm: Option<Fallback> = None, any();
    }
}

const ITEMS: &[&str] = &["summary", "key_points", "sentiment", "action_items", "highlights", "success"];

block! {
    /// Contact details that are kept.
    Leads {
        /// Whether.
        enabled: bool = false, any();
        /// Which.
        fields: Vec<String> = ["name", "email", "phone", "business_type"].map(String::from).into(), chars(1, 40).items(20);
        /// Whom to tell.
        notify: Vec<String> = Vec::new(), chars(3, 254).items(10).form(form::email);
        /// Mail to the lead.
        follow_up_template_id: Option<String> = None, chars(36, 36).form(form::uuid);
        /// So long after the call.
        follow_up_delay_ms: u64 = 0, range(0.0, 604_800_000.0);
    }
}
