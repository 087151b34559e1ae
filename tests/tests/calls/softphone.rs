//! A softphone of others, baresip, asks for an appointment with a voice from a file and is understood.

use std::fs::File;

use codecs::pcm::RATE;
use codecs::wav::Writer;
use tests::sound::voice_ms;
use tests::{Baresip, GREETING, Sidetone, elsewhere, flite};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softphone_is_understood() {
    // baresip does not live on the loopback; so it is a caller from elsewhere, who must be trusted by name.
    let address = elsewhere();
    let server = Sidetone::with(|plan| plan.also_at(address)).await;
    books(&server, |phone| phone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softphone_is_understood_over_tls() {
    let address = elsewhere();
    let mut tls = None;
    let server = Sidetone::with(|plan| {
        let (plan, port, certificate) = plan.also_at(address).secure(address);
        tls = Some((port, certificate));
        plan
    })
    .await;
    let (port, certificate) = tls.unwrap();
    books(&server, |phone| phone.over_tls(port, &certificate)).await;
    let call = server.api.call_from("softphone").await.unwrap();
    let trace = server.api.trace(call["id"].as_str().unwrap()).await;
    assert!(trace.iter().all(|message| message["transport"] == "TLS"), "{trace:#?}");
}

/// Asks for an appointment, and is understood.
async fn books(server: &Sidetone, change: impl FnOnce(Baresip) -> Baresip) {
    let address = elsewhere();
    // The microphone: the greeting is heard out, then the sentence, then room for the answer.
    let silence = |seconds: usize| vec![0; seconds * RATE as usize];
    let words = flite::say(server.dir(), "rms", "i would like to book an appointment");
    let microphone = server.dir().join("microphone.wav");
    let mut wav = Writer::new(File::create(&microphone).unwrap(), RATE, 1).unwrap();
    wav.write(&[silence(6), words, silence(60)].concat()).unwrap();
    wav.finish().unwrap();

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
