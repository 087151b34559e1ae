//! The ElevenLabs link against its simulator: sound, timed words, cancellation and lost connections.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pipeline::tts::{TtsCommand, TtsEvent, TtsLink, roster};
use serde_json::{Value, json};
use tokio::time::timeout;
use vendor_sim::{ElevenLabs, Fault, Knobs, Running};

fn open(sim: &Running, more: Value) -> TtsLink {
    let limits = json!({"first_byte_ms": 2000, "stall_ms": 1000, "backoff_ms": 10});
    let mut settings =
        json!({"voice": "rachel", "base_url": sim.ws(), "limits": limits, "voice_settings": {"speed": 1.0}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    roster::open("elevenlabs", &settings).unwrap()
}

async fn say(link: &TtsLink, r#gen: u64, pieces: &[&str]) {
    for &text in pieces {
        link.commands.send(TtsCommand::Speak { r#gen, text: text.into() }).await.unwrap();
    }
    link.commands.send(TtsCommand::Finish { r#gen }).await.unwrap();
}

/// What was heard up to `Done`, `Error` or `Down`.
#[derive(Debug, Default)]
struct Heard {
    samples: Vec<i16>,
    words: Vec<(String, u64)>,
    end: Option<TtsEvent>,
}

async fn hear(link: &mut TtsLink, wanted: u64) -> Heard {
    let mut heard = Heard::default();
    loop {
        match timeout(Duration::from_secs(20), link.events.recv())
            .await
            .expect("an event in time")
            .expect("an open link")
        {
            TtsEvent::Audio { r#gen, pcm } => {
                assert_eq!(r#gen, wanted);
                assert!((1..=8000).contains(&pcm.len()));
                heard.samples.extend(&pcm);
            }
            TtsEvent::Piece { r#gen, text, end_sample } => {
                assert_eq!(r#gen, wanted);
                assert!(end_sample <= heard.samples.len() as u64, "a word may only be told after its sound");
                heard.words.push((text, end_sample));
            }
            end => {
                heard.end = Some(end);
                return heard;
            }
        }
    }
}

/// 60 ms a character: what the simulator makes of a text, with the space that ends it.
fn samples(text: &str) -> usize {
    (text.chars().count() + 1) * 480
}

#[tokio::test]
async fn words_are_timed_over_messages_and_pieces() {
    for snake_case in [false, true] {
        let sim = ElevenLabs::start(Knobs { key: Some("k".into()), snake_case, ..Knobs::default() }).await.unwrap();
        let mut link = open(&sim, json!({"api_key": "k"}));
        assert_eq!(link.name, "elevenlabs/rachel");
        say(&link, 7, &["Good morning.", "Yes?"]).await;
        let heard = hear(&mut link, 7).await;
        assert_eq!(heard.end, Some(TtsEvent::Done { r#gen: 7 }));
        assert_eq!(heard.samples.len(), samples("Good morning.") + samples("Yes?"));
        let end = |chars: u64| chars * 480;
        assert_eq!(heard.words, [("Good".into(), end(4)), ("morning.".into(), end(13)), ("Yes?".into(), end(18))]);
        assert!(heard.samples.iter().any(|&sample| sample.abs() > 1000), "the sound must be loud");
    }
}

#[tokio::test]
async fn without_alignment_the_whole_text_is_told_at_its_end() {
    let sim = ElevenLabs::start(Knobs { no_alignment: true, ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    say(&link, 1, &["One.", "Two."]).await;
    let heard = hear(&mut link, 1).await;
    assert_eq!(heard.words, [("One. Two.".into(), heard.samples.len() as u64)]);
}

#[tokio::test]
async fn late_frames_of_a_cancelled_generation_are_dropped() {
    let sim = ElevenLabs::start(Knobs { pace: Duration::from_millis(50), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    // Six in a row: the vendor allows five at a time, so each cancel must have closed its context.
    for r#gen in 1..=6 {
        link.commands
            .send(TtsCommand::Speak { r#gen, text: "This is a long sentence that nobody wants to hear.".into() })
            .await
            .unwrap();
        // What was on its way when the generation before was cancelled may come first.
        while !matches!(link.events.recv().await, Some(TtsEvent::Audio { r#gen: heard, .. }) if heard == r#gen) {}
        link.commands.send(TtsCommand::Cancel { r#gen }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    while link.events.try_recv().is_ok() {}
    // Two pieces of each cancelled generation are still on their way at the vendor; `hear` lets none of them pass.
    say(&link, 7, &["Hello."]).await;
    let heard = hear(&mut link, 7).await;
    assert_eq!((heard.samples.len(), heard.end), (samples("Hello."), Some(TtsEvent::Done { r#gen: 7 })));
    assert_eq!(sim.connections(), 1);
    assert!(sim.cancelled() >= 5);
}

#[tokio::test]
async fn a_generation_that_was_not_heard_yet_is_said_again_on_a_new_socket() {
    for fault in [Fault::Drop { after: 0 }, Fault::Stall { after: 0 }] {
        let sim = ElevenLabs::start(Knobs { fault: fault.clone(), times: 1, ..Knobs::default() }).await.unwrap();
        let mut link = open(&sim, json!({}));
        say(&link, 1, &["Good morning.", "Hello."]).await;
        let heard = hear(&mut link, 1).await;
        assert_eq!(heard.end, Some(TtsEvent::Done { r#gen: 1 }), "{fault:?}");
        assert_eq!(heard.samples.len(), samples("Good morning.") + samples("Hello."));
        assert_eq!(sim.connections(), 2);
    }
}

#[tokio::test]
async fn a_generation_that_breaks_in_the_middle_fails_and_the_next_one_works() {
    for fault in [Fault::Drop { after: 3 }, Fault::Stall { after: 3 }, Fault::Error { after: 3 }] {
        let sim = ElevenLabs::start(Knobs {
            fault: fault.clone(),
            times: 1,
            pace: Duration::from_millis(1),
            ..Knobs::default()
        })
        .await
        .unwrap();
        let mut link = open(&sim, json!({}));
        say(&link, 1, &["Good morning, what can I do for you?"]).await;
        let heard = hear(&mut link, 1).await;
        assert!(matches!(heard.end, Some(TtsEvent::Error { r#gen: 1, retry: true, .. })), "{fault:?}: {:?}", heard.end);
        assert!(!heard.samples.is_empty());
        say(&link, 2, &["Hello."]).await;
        assert_eq!(hear(&mut link, 2).await.samples.len(), samples("Hello."));
    }
}

#[tokio::test]
async fn garbage_between_the_messages_does_no_harm() {
    let sim = ElevenLabs::start(Knobs { fault: Fault::Garbage, ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    say(&link, 1, &["Hello."]).await;
    assert_eq!(hear(&mut link, 1).await.end, Some(TtsEvent::Done { r#gen: 1 }));
}

#[tokio::test]
async fn a_wrong_key_fails_what_waits_and_is_down_for_good() {
    let sim = ElevenLabs::start(Knobs { key: Some("right".into()), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({"api_key": "wrong"}));
    let heard = hear(&mut link, 1).await;
    assert!(matches!(heard.end, Some(TtsEvent::Down { retry: false, .. })), "{:?}", heard.end);
}

#[tokio::test]
async fn a_busy_vendor_is_tried_again() {
    let fault = Fault::Refuse { status: 429, retry_after: None, code: "too_many_concurrent_requests".into() };
    let sim = ElevenLabs::start(Knobs { fault, times: 2, ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    say(&link, 1, &["Hello."]).await;
    assert_eq!(hear(&mut link, 1).await.end, Some(TtsEvent::Done { r#gen: 1 }));
    assert_eq!(sim.connections(), 3);
}

#[tokio::test]
async fn a_generation_without_text_is_done_at_once() {
    let sim = ElevenLabs::start(Knobs::default()).await.unwrap();
    let mut link = open(&sim, json!({}));
    say(&link, 1, &[" "]).await;
    assert_eq!(hear(&mut link, 1).await.end, Some(TtsEvent::Done { r#gen: 1 }));
}

#[tokio::test]
async fn what_crosses_the_news_of_a_failure_says_nothing() {
    let fault = Fault::Drop { after: 1 };
    let sim =
        ElevenLabs::start(Knobs { fault, times: 1, pace: Duration::from_millis(1), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    link.commands.send(TtsCommand::Speak { r#gen: 1, text: "Good morning.".into() }).await.unwrap();
    assert!(matches!(hear(&mut link, 1).await.end, Some(TtsEvent::Error { r#gen: 1, .. })));
    say(&link, 1, &["And more."]).await;
    say(&link, 2, &["Hello."]).await;
    assert_eq!(hear(&mut link, 2).await.end, Some(TtsEvent::Done { r#gen: 2 }));
}

#[tokio::test]
async fn what_waits_fails_with_the_link() {
    let fault = Fault::Refuse { status: 503, retry_after: None, code: "system_busy".into() };
    let sim = ElevenLabs::start(Knobs { fault, ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    link.commands.send(TtsCommand::Speak { r#gen: 1, text: "Good morning.".into() }).await.unwrap();
    assert!(matches!(hear(&mut link, 1).await.end, Some(TtsEvent::Error { r#gen: 1, retry: true, .. })));
    assert!(matches!(hear(&mut link, 1).await.end, Some(TtsEvent::Down { retry: true, .. })));
}

#[tokio::test]
async fn an_idle_socket_that_answers_pings_is_kept() {
    let sim = ElevenLabs::start(Knobs::default()).await.unwrap();
    let mut link = open(&sim, json!({"limits": {"silence_ms": 200, "backoff_ms": 10}}));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    say(&link, 1, &["Hello."]).await;
    assert_eq!(hear(&mut link, 1).await.end, Some(TtsEvent::Done { r#gen: 1 }));
    assert_eq!(sim.connections(), 1);
}

#[tokio::test]
async fn a_socket_that_answers_nothing_is_dead() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("ws://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut sockets = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            // Shakes hands and never reads again.
            sockets.push(tokio_tungstenite::accept_async(stream).await);
        }
    });
    let settings =
        json!({"voice": "v", "base_url": base_url, "limits": {"silence_ms": 50, "backoff_ms": 1, "attempts": 2}});
    let mut link = roster::open("elevenlabs", &settings).unwrap();
    let end = hear(&mut link, 1).await.end;
    assert!(matches!(&end, Some(TtsEvent::Down { reason, retry: true }) if reason.contains("dead")), "{end:?}");
    server.abort();
}

#[tokio::test]
async fn a_vendor_without_tls_is_no_panic() {
    let sim = ElevenLabs::start(Knobs::default()).await.unwrap();
    let mut link = open(&sim, json!({"base_url": format!("wss://{}", sim.addr())}));
    assert!(matches!(hear(&mut link, 1).await.end, Some(TtsEvent::Down { retry: true, .. })));
}
