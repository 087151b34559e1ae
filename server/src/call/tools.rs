//! What an agent can do besides talking: book a slot, take a message. Each is a row and an event.

use control_api::{Entry, Store};
use domain::event::Name;
use domain::{CallId, TenantId};
use pipeline::conversation::ToolResult;
use serde_json::{Value, json};

/// What became of a tool call.
pub(super) struct Outcome {
    /// For the conversation.
    pub(super) result: ToolResult,
    /// For the journal, if something was made.
    pub(super) entry: Option<Entry>,
}

/// Runs one tool; a tool that does not exist or cannot do its work says so in words.
pub(super) async fn run(
    store: &Store,
    tenant: TenantId,
    call: CallId,
    id: String,
    name: &str,
    arguments: Value,
) -> Outcome {
    let done = match name {
        "book_slot" => book(store, tenant, call, arguments).await,
        "take_message" => take(store, tenant, call, arguments).await,
        _ => Err(format!("there is no tool {name} here")),
    };
    match done {
        Ok((text, entry)) => Outcome { result: ToolResult { id, ok: true, text }, entry: Some(entry) },
        Err(text) => Outcome { result: ToolResult { id, ok: false, text }, entry: None },
    }
}

async fn book(store: &Store, tenant: TenantId, call: CallId, data: Value) -> Result<(String, Entry), String> {
    let at = data["at"].as_str().or_else(|| data["slot"].as_str()).ok_or("the argument `at` is missing")?.to_owned();
    let booking = store.book(tenant, call, &at, data).await.map_err(|error| error.to_string())?;
    let told = json!({"id": booking.id, "call_id": call, "slot": booking.slot_key, "data": booking.data});
    Ok((json!({"booked": booking.slot_key}).to_string(), Entry::Event { name: Name::BookingCreated, data: told }))
}

async fn take(store: &Store, tenant: TenantId, call: CallId, data: Value) -> Result<(String, Entry), String> {
    let message = store.take_message(tenant, call, data).await.map_err(|error| error.to_string())?;
    let told = json!({"id": message.id, "call_id": call, "data": message.data});
    Ok((json!({"taken": true}).to_string(), Entry::Event { name: Name::MessageTaken, data: told }))
}
