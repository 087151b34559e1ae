//! How a call begins: who speaks first, what is said, what the model is told, in which languages.

use std::collections::BTreeMap;

use serde_json::Value;

use super::form;
use super::shape::{any, block, chars, choice, one_of, range};
use crate::call::words;

words! {
    /// Who speaks first.
    FirstSpeaker {
        /// The agent says its greeting.
        Agent = "agent",
        /// The agent waits for the caller.
        Caller = "caller",
        /// The model writes the greeting.
        AgentGenerated = "agent_generated",
    }
}
choice!(FirstSpeaker);

block! {
    /// What is said first.
    Greeting {
        /// With variables; synthesised while it rings.
        text: String = String::new(), chars(0, 1000);
        /// Said instead on calls that we place; null means `text`.
        outbound_text: Option<String> = None, chars(0, 1000);
        /// May the caller talk over it? If not, what they say meanwhile is kept.
        interruptible: bool = false, any();
        /// Silence before it; null means 0, and 400 on calls that we place (the callee says hello).
        delay_ms: Option<u64> = None, range(0.0, 5_000.0);
        /// Calls that we place: speak after this if the callee stays silent.
        wait_for_caller_ms: u64 = 2_500, range(0.0, 15_000.0);
    }
}

block! {
    /// What the model is told.
    Prompt {
        /// With variables.
        system: String = String::new(), chars(0, 32_000);
        /// The variables that texts of this agent may name, beside those that always exist.
        variables: BTreeMap<String, Variable> = BTreeMap::new(), any().items(100);
    }
}

words! {
    /// What a variable holds.
    VariableType {
        /// Any text.
        String = "string",
        /// A number.
        Number = "number",
        /// True or false.
        Boolean = "boolean",
        /// A day, or a day and time, of RFC 3339.
        Date = "date",
        /// A number in international form.
        Phone = "phone",
        /// An e-mail address.
        Email = "email",
    }
}
choice!(VariableType);

block! {
    /// One declared variable.
    Variable {
        /// What it holds.
        r#type: VariableType = VariableType::String, any();
        /// Its value when the call brings none.
        default: Value = Value::Null, any();
        /// A call that we place without it is refused; an incoming one gets the default.
        required: bool = false, any();
        /// Personal: masked in logs and in transcripts of prompts.
        pii: bool = false, any();
        /// Longest value.
        max_chars: u64 = 500, range(1.0, 4_000.0);
        /// For people.
        description: String = String::new(), chars(0, 200);
    }
}

block! {
    /// What is spoken.
    Language {
        /// BCP 47.
        primary: String = "en-US".into(), chars(2, 35).form(form::language);
        /// Other languages that may be switched to.
        also: Vec<String> = Vec::new(), chars(2, 35).items(10).form(form::language);
        /// `auto`: after two finals in another listed language; the voice switches with it.
        switch: String = "off".into(), one_of(&["off", "auto", "tool"]);
        /// The voice of each language.
        voices: BTreeMap<String, String> = BTreeMap::new(), chars(1, 200).items(11);
    }
}

block! {
    /// That the caller talks to a machine.
    Disclosure {
        /// Say so once, before the first answer.
        ai: bool = true, any();
        /// In these words; not said by itself when the greeting has `{{disclosure}}`.
        text: String = "You are speaking with an automated assistant.".into(), chars(0, 300);
    }
}

block! {
    /// That the call is recorded.
    Consent {
        /// Say it, or ask for it.
        mode: String = "none".into(), one_of(&["none", "announce", "opt_in"]);
        /// In these words.
        text: String = "This call may be recorded.".into(), chars(0, 500);
        /// What follows a no.
        on_refuse: String = "continue_unrecorded".into(), one_of(&["continue_unrecorded", "hang_up", "transfer"]);
    }
}
