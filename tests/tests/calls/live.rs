//! What the API asks of a call under way is heard on the line and in the recording: words, keys, hold music, silence.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::sound::{between, voice_ms};
use tests::{Line, Sidetone};

/// Silence in µ-law.
const QUIET: [u8; 160] = [0xff; 160];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_call_is_heard_in_its_recording() {
    let server = Sidetone::start().await;
    let mut line = Line::call(server.sip, &server.uri("demo")).await;
    let answered = Instant::now();
    let now = || answered.elapsed().as_millis() as u64;
    let call = server.api.call_from(line.name()).await.expect("the call has a row");
    let id = call["id"].as_str().unwrap().to_owned();
    let caller = tokio::spawn(async move { line.talk(1500, Duration::ZERO, |_| QUIET).await });
    let path = |what: &str| format!("calls/{id}/{what}");
    let said = |id: Value| move |event: &Value| event["type"] == "call.turn.agent" && event["data"]["say_id"] == id;

    server.api.until(&id, |call| call["activity"] == "listening").await;
    let say = server.api.post(&path("say"), &json!({"text": "This was asked for.", "interruptible": false})).await;
    let turn = server.api.event(&id, said(say["say_id"].clone())).await;
    assert_eq!(turn["data"]["heard_text"], "This was asked for.");

    server.api.post(&path("dtmf"), &json!({"digits": "1w5#"})).await;
    server.api.event(&id, |event| event["type"] == "call.dtmf.sent" && event["data"]["digit"] == "#").await;

    let hold = now();
    server.api.post(&path("hold"), &json!({"on": true})).await;
    assert_eq!(server.api.get(&format!("calls/{id}")).await["activity"], "on_hold");
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.api.post(&path("hold"), &json!({"on": false})).await;
    let back = now();

    server.api.post(&path("mute"), &json!({"who": "agent", "on": true})).await;
    let muted = now();
    let say = server.api.post(&path("say"), &json!({"text": "Nobody hears this.", "when": "now"})).await;
    server.api.event(&id, said(say["say_id"].clone())).await;
    let loud = now();
    server.api.post(&path("mute"), &json!({"who": "agent", "on": false})).await;

    server.api.post(&path("end"), &json!({"say": "That was all."})).await;
    let call =
        server.api.until(&id, |call| call["recording"]["state"] == "ready" && call["ended_at"].is_string()).await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"api_ended".into()), "{call:#}");
    caller.abort();

    let events = server.api.events(&id).await;
    let sent: String = events
        .iter()
        .filter(|event| event["type"] == "call.dtmf.sent" && event["data"]["via"] == "inband")
        .filter_map(|event| event["data"]["digit"].as_str())
        .collect();
    assert_eq!(sent, "15#");
    let holds: Vec<_> =
        events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("call.hold")).collect();
    assert!(holds.len() == 2 && holds.iter().all(|event| event["data"]["by"] == "api"), "{holds:#?}");
    let last = server.api.transcript(&id).await.pop().unwrap();
    assert_eq!(last["heard_text"], "That was all.");

    let recording = server.api.recording(&id).await;
    let music = voice_ms(between(&recording.agent, hold + 300, back - 300));
    assert!(music * 10 > (back - hold - 600) * 8, "{music} ms of music in {} ms", back - hold - 600);
    let silence = voice_ms(between(&recording.agent, muted + 300, loud - 300));
    assert_eq!(silence, 0, "of a muted agent something was heard");
    assert!(voice_ms(between(&recording.agent, loud + 300, u64::MAX / 16)) > 400, "the last words were not heard");
}
