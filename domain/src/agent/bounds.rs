//! Bounds of a call, what answers when no person does, and how the agent meets the outside.

use std::collections::BTreeMap;

use super::form;
use super::shape::{any, block, chars, one_of, range};

block! {
    /// Bounds of a call.
    Limits {
        /// With a warning before the end.
        max_duration_ms: u64 = 3_600_000, range(10_000.0, 43_200_000.0);
        /// Web sessions without speech.
        idle_timeout_ms: u64 = 1_800_000, range(60_000.0, 7_200_000.0);
        /// How long a call that we place rings.
        ring_timeout_ms: u64 = 45_000, range(5_000.0, 120_000.0);
        /// Per call, in millionths of a dollar.
        max_cost_micros: Option<u64> = None, range(0.0, 1_000_000_000_000.0);
        /// Per call.
        max_tool_calls: u64 = 50, range(0.0, 500.0);
        /// Calls of this agent at a time.
        max_concurrent: Option<u64> = None, range(1.0, 1_000_000.0);
    }
}

block! {
    /// What happens when a machine answers a call that we place.
    Voicemail {
        /// Find out.
        detect: bool = true, any();
        /// A machine.
        on_machine: String = "hang_up".into(), one_of(&["hang_up", "leave_message", "continue", "transfer"]);
        /// The message.
        message: String = String::new(), chars(0, 1_000);
        /// How long to wait for the tone.
        wait_beep_ms: u64 = 20_000, range(0.0, 60_000.0);
        /// Undecided after so long: a person.
        decide_within_ms: u64 = 4_000, range(500.0, 15_000.0);
        /// A service that asks who calls.
        on_screening: String = "answer".into(), one_of(&["answer", "hang_up"]);
        /// Who calls and why.
        screening_text: String = String::new(), chars(0, 300);
        /// A menu.
        on_ivr: String = "navigate".into(), one_of(&["navigate", "continue", "hang_up"]);
    }
}

block! {
    /// Asked before a call is answered.
    PreCall {
        /// Nobody is asked when null.
        url: Option<String> = None, chars(8, 2_048).form(form::url);
        /// It rings meanwhile.
        timeout_ms: u64 = 2_000, range(200.0, 5_000.0);
        /// When there is no answer.
        on_error: String = "proceed".into(), one_of(&["proceed", "refuse"]);
    }
}

block! {
    /// Told about this agent's events.
    EventHook {
        /// Nobody is told when null.
        url: Option<String> = None, chars(8, 2_048).form(form::url);
        /// Which.
        types: Vec<String> = ["call.ended", "call.analyzed"].map(String::from).into(), chars(1, 64).items(50);
    }
}

block! {
    /// Servers of the tenant.
    Hooks {
        /// Asked before a call is answered.
        pre_call: PreCall = PreCall::default(), any();
        /// Told about events.
        events: EventHook = EventHook::default(), any();
        /// The credential that signs; the tenant's own when null.
        secret_ref: Option<String> = None, chars(36, 36).form(form::uuid);
    }
}

block! {
    /// The telephone side.
    Sip {
        /// Ring for so long before answering.
        answer_after_ms: u64 = 0, range(0.0, 10_000.0);
        /// `X-…` → variable.
        headers_to_variables: BTreeMap<String, String> = BTreeMap::new(), chars(1, 40).items(20);
    }
}
