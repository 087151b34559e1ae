//! The server is killed in the middle of a call: the next run closes the call with what is known of it.

use std::time::{Duration, Instant};

use tests::sound::voice_ms;
use tests::{Phone, Sidetone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_call_is_closed_with_its_evidence() {
    let mut server = Sidetone::start().await;
    let mut phone = Phone::new(&server, "demo", "survivor")
        .say("i would like to book an appointment")
        .with("--linger", "60")
        .start();
    let began = Instant::now();
    // The greeting, what we said, and the question after it are on record.
    let (id, before) = loop {
        if let Some(call) = server.api.call_from("survivor").await {
            let id = call["id"].as_str().unwrap().to_owned();
            let turns = server.api.transcript(&id).await;
            if turns.len() >= 3 {
                break (id, turns);
            }
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the call does not get anywhere");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    server.kill().await;
    phone.kill().await.unwrap();
    server.restart().await;

    let call = server.api.until(&id, |call| call["ended_at"].is_string()).await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"failed".into(), &"node_lost".into()), "{call:#}");
    let call = server.api.until(&id, |call| call["recording"]["state"] == "ready").await;
    assert_eq!(server.api.transcript(&id).await, before);
    let recording = server.api.recording(&id).await;
    assert_eq!(call["recording"]["duration_ms"].as_u64(), Some(recording.agent.len() as u64 / 8));
    assert!(voice_ms(&recording.caller) > 1_000, "{} ms of the caller", voice_ms(&recording.caller));
    assert!(voice_ms(&recording.agent) > 2_000, "{} ms of the agent", voice_ms(&recording.agent));

    let events = server.api.events(&id).await;
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "events are numbered without holes");
    assert_eq!(events.iter().filter(|event| event["type"] == "call.ended").count(), 1);
    assert!(server.api.get("calls/active").await["data"].as_array().unwrap().is_empty());

    // Once more: what is closed stays as it is.
    server.kill().await;
    server.restart().await;
    assert_eq!(server.api.events(&id).await, events);
    // And the node takes calls.
    let spoken = Phone::new(&server, "demo", "next").with("--linger", "1").call().await;
    assert_eq!(spoken.code, Some(0), "{:#}", spoken.report);
}
