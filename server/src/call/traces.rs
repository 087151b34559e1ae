//! What was said on the wire of each call goes to its record when it is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use control_api::{Entry, Journal, SipMessage, SipTrace};
use domain::CallId;
use sip_stack::CallHandle;
use wire::sip::{CallTrace, TraceSink};

/// Whose dialogs are whose calls'; cheap to clone.
#[derive(Clone)]
pub struct Traces {
    journal: Journal,
    /// Whether anything is traced at all: otherwise nobody would take names off again.
    on: bool,
    names: Arc<Mutex<HashMap<CallHandle, CallId>>>,
}

impl Traces {
    /// Traces go to this journal.
    #[must_use]
    pub fn new(journal: Journal, on: bool) -> Self {
        Self { journal, on, names: Arc::default() }
    }

    /// What the SIP task hands traces to.
    #[must_use]
    pub fn sink(&self) -> TraceSink {
        let traces = self.clone();
        TraceSink(Arc::new(move |trace| traces.take(trace)))
    }

    /// A dialog is a call's.
    pub fn name(&self, dialog: CallHandle, call: CallId) {
        if self.on {
            self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(dialog, call);
        }
    }

    /// A trace without a name is that of a call that was turned away at the door, and has no record.
    fn take(&self, trace: CallTrace) {
        let name = self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&trace.call);
        let Some(call) = name else { return };
        let messages = trace.messages.into_iter().map(|message| SipMessage {
            at_us: i64::try_from(message.at_us).unwrap_or(i64::MAX),
            outgoing: message.sent,
            transport: message.flow.transport.as_str().to_owned(),
            local: message.flow.local,
            peer: message.flow.remote,
            text: message.text,
        });
        let trace = SipTrace { sip_call_id: trace.call_id, dropped: trace.dropped, messages: messages.collect() };
        self.journal.write(call, Entry::Trace(Box::new(trace)));
    }
}
