//! Another softphone of others, linphonec, asks for an appointment, holds the call, takes it back and hangs up.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use codecs::pcm::RATE;
use codecs::wav::Writer;
use tests::sound::voice_ms;
use tests::{GREETING, Linphone, Sidetone, elsewhere, flite};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_asks_holds_and_hangs_up_over_udp() {
    let address = elsewhere();
    let server = Sidetone::with(|plan| plan.also_at(address)).await;
    let phone = Linphone::start(&server, address, "linphone", None).await;
    asks_holds_and_hangs_up(&server, phone, "UDP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_asks_holds_and_hangs_up_over_tls() {
    let (server, address, port, certificate) = Sidetone::secure_elsewhere().await;
    let phone = Linphone::start(&server, address, "linphone", Some((port, &certificate))).await;
    asks_holds_and_hangs_up(&server, phone, "TLS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linphone_does_not_call_a_server_whose_certificate_it_does_not_know() {
    let (server, address, port, _) = Sidetone::secure_elsewhere().await;
    let stranger = rcgen::generate_simple_self_signed([address.to_string()]).unwrap();
    let path = server.dir().join("stranger.pem");
    std::fs::write(&path, stranger.cert.pem()).unwrap();
    let mut phone = Linphone::start(&server, address, "linphone", Some((port, &path))).await;
    phone.call("demo").await;
    written(&phone, " error.").await;
    assert!(server.api.calls().await.is_empty());
}

/// Until it says so.
async fn written(phone: &Linphone, words: &str) {
    let began = Instant::now();
    while !phone.written().contains(words) {
        assert!(began.elapsed() < Duration::from_secs(20), "never {words:?}:\n{}", phone.written());
        sleep(Duration::from_millis(100)).await;
    }
}

fn wav(path: &Path, samples: &[i16]) {
    let mut wav = Writer::new(File::create(path).unwrap(), RATE, 1).unwrap();
    wav.write(samples).unwrap();
    wav.finish().unwrap();
}

async fn asks_holds_and_hangs_up(server: &Sidetone, mut phone: Linphone, transport: &str) {
    let question = server.dir().join("question.wav");
    wav(&question, &flite::say(server.dir(), "rms", "i would like to book an appointment"));

    phone.call("demo").await;
    written(&phone, "Media streams established").await;
    let call = server.api.call_from("linphone").await.unwrap();
    let id = call["id"].as_str().unwrap();
    // The greeting is heard out, then the question comes.
    heard(server, id, 1).await;
    phone.tell(&format!("play {}", question.display())).await;
    heard(server, id, 3).await;
    for (order, told) in [("pause", "call.hold.started"), ("resume 1", "call.hold.ended")] {
        phone.tell(order).await;
        assert_eq!(server.api.told(id, told).await["data"]["by"], "caller");
        sleep(Duration::from_secs(1)).await;
    }
    phone.tell("terminate").await;
    written(&phone, "ended (No error)").await;

    let call = server.api.until(id, |call| call["ended_at"].is_string()).await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"caller_hung_up".into()), "{call:#}");
    let turns = server.api.transcript(id).await;
    let said: Vec<_> =
        turns.iter().filter_map(|turn| Some((turn["speaker"].as_str()?, turn["text"].as_str()?))).collect();
    let agent: Vec<_> = said.iter().filter(|(speaker, _)| *speaker == "agent").map(|(_, text)| *text).collect();
    // Its wav file is played by its own clock; what counts is that it is understood.
    assert_eq!(agent.get(..2), Some(&[GREETING, "Which day and time suit you?"][..]), "{said:?}\n{}", phone.written());
    assert!(said[1].1.contains("appointment"), "{said:?}");
    let recording = server.api.recording(id).await;
    assert!(voice_ms(&recording.caller) > 1_000 && voice_ms(&recording.agent) > 2_000);
    let trace = server.api.trace(id).await;
    assert!(trace.iter().all(|message| message["transport"] == transport), "{trace:#?}");
}

/// Until so many turns are over.
async fn heard(server: &Sidetone, id: &str, turns: usize) {
    let began = Instant::now();
    loop {
        let done = server.api.transcript(id).await;
        if done.len() >= turns {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{done:#?}");
        sleep(Duration::from_millis(200)).await;
    }
}
