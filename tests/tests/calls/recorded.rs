//! A recording becomes Ogg Opus after the call, and is heard as before.

use std::time::{Duration, Instant};

use tests::sound::voice_ms;
use tests::{Phone, Sidetone, workspace};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_encoded_after_the_call_and_heard_as_before() {
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let encoded = receptionist.replace("format = \"wav\"", "format = \"ogg_opus\"");
    assert_ne!(encoded, receptionist, "the receptionist says its format with other words now");
    let server = Sidetone::with(|plan| plan.agent("encoded", &encoded)).await;
    let spoken = Phone::new(&server, "encoded", "keeper")
        .say("i would like to book an appointment")
        .with("--linger", "2")
        .call()
        .await;
    let call = server.api.ended("keeper").await;
    let id = call["id"].as_str().unwrap();
    let path = format!("calls/{id}/recording");
    let began = Instant::now();
    let shown = loop {
        let shown = server.api.get(&path).await;
        if shown["format"] != "wav" {
            break shown;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it stays what it was: {shown:#}");
        sleep(Duration::from_millis(200)).await;
    };
    let (bytes, lasts_ms) = (shown["bytes"].as_u64().unwrap(), shown["duration_ms"].as_u64().unwrap());
    assert!(bytes < lasts_ms * 32 / 4, "{bytes} bytes for {lasts_ms} ms: {shown:#}");
    let recording = server.api.recording(id).await;
    assert_eq!(recording.agent.len() as u64 / 8, lasts_ms);
    // The greeting and the answer; the caller's sentence.
    let sent = voice_ms(&spoken.sound.agent);
    let kept = voice_ms(&recording.agent);
    assert!(kept.abs_diff(sent) < 500 && kept > 3_000, "{kept} ms of {sent} ms of the agent's voice are kept");
    assert!(voice_ms(&recording.caller) > 1_200, "caller: {} ms of voice", voice_ms(&recording.caller));
    let turns = server.api.transcript(id).await;
    assert!(turns.iter().any(|turn| turn["text"] == "i would like to book an appointment"), "{turns:#?}");
}
