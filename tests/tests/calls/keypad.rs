//! sipp has such a conversation with the keys of a telephone alone (RFC 4733), once and twenty times at once.

use serde_json::Value;
use tests::{Sidetone, Sipp};

/// `sip:keypad@…`, who calls in our scenarios.
const CALLER: &str = "keypad";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visit_is_booked_by_keys() {
    let server = Sidetone::start().await;
    Sipp::new(&server, "booking.xml", "demo").calls(1).run().await;
    let call = server.api.ended(CALLER).await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"agent_hung_up".into()), "{call:#}");
    let id = call["id"].as_str().unwrap();
    assert_eq!(pressed(&server.api.events(id).await), "11115550123456#19");
    let turns = server.api.transcript(id).await;
    assert_eq!(said(&turns, "caller"), ["1", "1", "1", "1", "5550123456", "1", "9"], "{turns:#?}");
    assert_eq!(said(&turns, "agent").last(), Some(&"Goodbye."));
    let bookings = server.api.bookings().await;
    assert_eq!(bookings.len(), 1, "{bookings:#?}");
    assert_eq!((&bookings[0]["call_id"], &bookings[0]["data"]["phone"]), (&call["id"], &"5550123456".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_callers_leave_messages_at_the_same_time() {
    let server = Sidetone::start().await;
    Sipp::new(&server, "message.xml", "demo").calls(20).run().await;
    let calls = server.api.calls().await;
    assert_eq!(calls.len(), 20);
    for call in &calls {
        let id = call["id"].as_str().unwrap();
        let call = server.api.until(id, |call| call["ended_at"].is_string()).await;
        assert_eq!(
            (&call["status"], &call["ended_reason"]),
            (&"completed".into(), &"agent_hung_up".into()),
            "{call:#}"
        );
        assert_eq!(pressed(&server.api.events(id).await), "415550123456#9");
        let turns = server.api.transcript(id).await;
        assert_eq!(said(&turns, "caller"), ["4", "1", "5550123456", "9"], "{turns:#?}");
    }
    let messages = server.api.messages().await;
    assert_eq!(messages.len(), 20);
    assert!(messages.iter().all(|message| message["data"]["phone"] == "5550123456"), "{messages:#?}");
    for call in &calls {
        assert_eq!(messages.iter().filter(|message| message["call_id"] == call["id"]).count(), 1);
    }
}

fn pressed(events: &[Value]) -> String {
    let keys = events.iter().filter(|event| event["type"] == "call.dtmf.received");
    keys.filter_map(|event| event["data"]["digit"].as_str()).collect()
}

fn said<'t>(turns: &'t [Value], speaker: &str) -> Vec<&'t str> {
    turns.iter().filter(|turn| turn["speaker"] == speaker).filter_map(|turn| turn["text"].as_str()).collect()
}
