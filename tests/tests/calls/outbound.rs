//! The API places a call to another server, and ends it.

use serde_json::json;
use tests::sound::voice_ms;
use tests::{Sidetone, workspace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_placed_and_ended() {
    // The echo would interrupt a greeting that may be interrupted.
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let announcer = receptionist.replace("interruptible = true", "interruptible = false");
    assert_ne!(announcer, receptionist);
    let ours = Sidetone::with(|plan| plan.agent("announcer", &announcer)).await;
    let theirs = Sidetone::start().await;
    let placed = ours
        .api
        .post("calls", &json!({"to": theirs.uri("echo"), "agent_id": "announcer", "metadata": {"why": "test"}}))
        .await;
    assert_eq!((&placed["status"], &placed["direction"]), (&"pending".into(), &"outbound".into()));
    let id = placed["id"].as_str().unwrap();
    ours.api.until(id, |call| call["status"] == "in_progress").await;
    // The greeting goes there and comes back.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    ours.api.post(&format!("calls/{id}/end"), &json!({"reason": "enough"})).await;
    let call = ours.api.until(id, |call| call["recording"]["state"] == "ready").await;
    let call =
        if call["ended_at"].is_string() { call } else { ours.api.until(id, |call| call["ended_at"].is_string()).await };
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"api_ended".into()), "{call:#}");
    assert_eq!(call["metadata"]["why"], "test");
    let recording = ours.api.recording(id).await;
    let (sent, came_back) = (voice_ms(&recording.agent), voice_ms(&recording.caller));
    assert!(sent > 1_000 && came_back > sent / 2, "{sent} ms of greeting, {came_back} ms of it came back");

    let other = theirs.api.call_from("sidetone").await.expect("the other side has a row");
    let other = theirs.api.until(other["id"].as_str().unwrap(), |call| call["ended_at"].is_string()).await;
    assert_eq!(
        (&other["status"], &other["ended_reason"]),
        (&"completed".into(), &"caller_hung_up".into()),
        "{other:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_says_why() {
    let (ours, theirs) = tokio::join!(Sidetone::start(), Sidetone::start());
    let placed = ours.api.post("calls", &json!({"to": theirs.uri("nobody"), "agent_id": "receptionist"})).await;
    let call = ours.api.until(placed["id"].as_str().unwrap(), |call| call["ended_at"].is_string()).await;
    assert_eq!(
        (&call["status"], &call["ended_reason"], &call["sip_status"]),
        (&"failed".into(), &"unknown_number".into(), &404.into())
    );
}
