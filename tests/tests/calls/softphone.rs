//! A softphone of others, baresip, asks for an appointment with a voice from a file and is understood.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use codecs::pcm::RATE;
use codecs::wav::Writer;
use tests::sound::voice_ms;
use tests::{Baresip, GREETING, Sidetone, Sipp, elsewhere, flite, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softphone_is_understood() {
    // baresip does not live on the loopback; so it is a caller from elsewhere, who must be trusted by name.
    let address = elsewhere();
    let server = Sidetone::with(|plan| plan.also_at(address)).await;
    books(&server, |phone| phone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softphone_is_understood_over_tls() {
    let (server, _, port, certificate) = Sidetone::secure_elsewhere().await;
    books(&server, |phone| phone.over_tls(port, &certificate)).await;
    let call = server.api.call_from("softphone").await.unwrap();
    let trace = server.api.trace(call["id"].as_str().unwrap()).await;
    assert!(trace.iter().all(|message| message["transport"] == "TLS"), "{trace:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softphone_holds_comes_back_and_passes_the_call_on() {
    let (server, address, port, certificate) = Sidetone::secure_elsewhere().await;
    let microphone = microphone(&server, &silence(60));
    let phone = |name| Baresip::new(&server, address, "demo", name, &microphone);
    tokio::join!(
        passes_on(&server, "by-tcp", phone("by-tcp").over_tcp()),
        passes_on(&server, "by-tls", phone("by-tls").over_tls(port, &certificate)),
    );
}

/// Holds, takes back, and passes the agent on to a colleague; then it is gone, and the agent talks to the colleague.
async fn passes_on(server: &Sidetone, name: &str, phone: Baresip) {
    let handset = phone.dial();
    let began = std::time::Instant::now();
    let id = loop {
        if let Some(call) = server.api.call_from(name).await.filter(|call| call["status"] == "in_progress") {
            break call["id"].as_str().unwrap_or_default().to_owned();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no call from {name}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (button, told) in [("hold", "call.hold.started"), ("resume", "call.hold.ended")] {
        handset.press(button, "").await;
        assert_eq!(server.api.told(&id, told).await["data"]["by"], "caller");
    }
    // Not at its own address: the policy for calls out judges whom it names.
    let there = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let colleague = Sipp::called(server, there, "answer.xml").run();
    let steer = async {
        handset.press("transfer", &format!("sip:colleague@{there}")).await;
        server.api.told(&id, "call.transfer.bridged").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.api.post(&format!("calls/{id}/end"), &serde_json::json!({})).await;
        server.api.until(&id, |call| call["ended_at"].is_string()).await
    };
    let ((), call) = tokio::join!(colleague, steer);
    assert_eq!(call["transfer"]["state"], "completed", "{name}: {call:#}");
}

fn silence(seconds: usize) -> Vec<i16> {
    vec![0; seconds * RATE as usize]
}

fn microphone(server: &Sidetone, samples: &[i16]) -> PathBuf {
    let path = server.dir().join("microphone.wav");
    let mut wav = Writer::new(File::create(&path).unwrap(), RATE, 1).unwrap();
    wav.write(samples).unwrap();
    wav.finish().unwrap();
    path
}

/// Asks for an appointment, and is understood.
async fn books(server: &Sidetone, change: impl FnOnce(Baresip) -> Baresip) {
    let address = elsewhere();
    // The greeting is heard out, then the sentence, then room for the answer.
    let words = flite::say(server.dir(), "rms", "i would like to book an appointment");
    let microphone = microphone(server, &[silence(6), words, silence(60)].concat());

    let phone = Baresip::new(server, address, "demo", "softphone", &microphone);
    let written = change(phone).call(14).await;
    let call = server.api.call_from("softphone").await.unwrap_or_else(|| panic!("no call came:\n{written}"));
    let id = call["id"].as_str().unwrap();
    let call = server.api.until(id, |call| call["ended_at"].is_string()).await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"caller_hung_up".into()), "{call:#}");
    let turns = server.api.transcript(id).await;
    let said: Vec<_> =
        turns.iter().filter_map(|turn| Some((turn["speaker"].as_str()?, turn["text"].as_str()?))).collect();
    let wanted = [
        ("agent", GREETING),
        ("caller", "i would like to book an appointment"),
        ("agent", "Which day and time suit you?"),
    ];
    assert_eq!(said.get(..3), Some(&wanted[..]), "{said:?}\n{written}");
    let recording = server.api.recording(id).await;
    assert!(voice_ms(&recording.caller) > 1_000 && voice_ms(&recording.agent) > 2_000);
}
