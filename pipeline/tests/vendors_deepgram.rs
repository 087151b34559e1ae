//! The Deepgram link against its simulator: words, times, reconnects and refusals.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use codecs::pcm::{Frame, SILENCE};
use pipeline::stt::{Hints, SttCommand, SttEvent, SttLink, roster};
use serde_json::{Value, json};
use tokio::time::timeout;
use vendor_sim::{Deepgram, Fault, Knobs, Running};

fn voice() -> Frame {
    std::array::from_fn(|i| if i % 16 < 8 { 6000 } else { -6000 })
}

fn knobs(transcripts: &[&str]) -> Knobs {
    Knobs { transcripts: transcripts.iter().map(|&text| text.into()).collect(), ..Knobs::default() }
}

fn open(sim: &Running, more: Value) -> SttLink {
    let mut settings = json!({"model": "nova-3", "base_url": sim.ws(), "limits": {"backoff_ms": 10, "stall_ms": 1000, "connect_ms": 2000}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    roster::open("deepgram", &settings).unwrap()
}

async fn next(link: &mut SttLink) -> SttEvent {
    timeout(Duration::from_secs(20), link.events.recv()).await.expect("an event in time").expect("an open link")
}

async fn say(link: &SttLink, frame: Frame, ms: usize) {
    for _ in 0..ms / 20 {
        link.commands.send(SttCommand::Audio(frame)).await.unwrap();
    }
}

/// Events up to and with the first one of that kind.
async fn until(link: &mut SttLink, last: impl Fn(&SttEvent) -> bool) -> Vec<SttEvent> {
    let mut list = Vec::new();
    loop {
        list.push(next(link).await);
        if list.last().is_some_and(&last) {
            return list;
        }
    }
}

fn finals(events: &[SttEvent]) -> Vec<(&str, u64)> {
    events
        .iter()
        .filter_map(
            |event| if let SttEvent::Final { text, end, .. } = event { Some((text.as_str(), *end)) } else { None },
        )
        .collect()
}

#[tokio::test]
async fn a_long_utterance_comes_as_partials_and_finals_with_times() {
    let sim = Deepgram::start(knobs(&["one two three four five six seven eight"])).await.unwrap();
    let mut link = open(&sim, json!({"turns": true}));
    assert_eq!(link.name, "deepgram/nova-3");
    assert!(matches!(next(&mut link).await, SttEvent::Ready { .. }));
    say(&link, SILENCE, 1000).await;
    say(&link, voice(), 2000).await;
    say(&link, SILENCE, 1000).await;
    let events = until(&mut link, |event| matches!(event, SttEvent::TurnEnd { .. })).await;
    assert!(matches!(&events[0], SttEvent::Partial { text, end: 1560 } if text == "one two"), "{events:?}");
    assert_eq!(finals(&events), [("one two three four", 2000), ("five six seven eight", 3300)]);
    assert_eq!(events.last(), Some(&SttEvent::TurnEnd { text: "one two three four five six seven eight".into() }));
}

#[tokio::test]
async fn without_speech_final_the_gap_between_words_ends_the_turn() {
    let sim = Deepgram::start(Knobs { no_speech_final: true, ..knobs(&["yes please"]) }).await.unwrap();
    let mut link = open(&sim, json!({"turns": true}));
    say(&link, voice(), 600).await;
    say(&link, SILENCE, 1500).await;
    let events = until(&mut link, |event| matches!(event, SttEvent::TurnEnd { .. })).await;
    assert_eq!(finals(&events), [("yes please", 900)]);
}

#[tokio::test]
async fn a_flush_brings_the_final_before_the_silence_does() {
    let sim = Deepgram::start(knobs(&["book it"])).await.unwrap();
    let mut link = open(&sim, json!({}));
    say(&link, voice(), 600).await;
    link.commands.send(SttCommand::Flush).await.unwrap();
    let events = until(&mut link, |event| matches!(event, SttEvent::Final { .. })).await;
    assert_eq!(finals(&events), [("book it", 600)]);
    link.commands.send(SttCommand::Flush).await.unwrap();
    assert_eq!(next(&mut link).await, SttEvent::Nothing { end: 600 });
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_of_an_utterance_loses_no_word() {
    let sim = Deepgram::start(Knobs {
        fault: Fault::Drop { after: 2 },
        times: 1,
        shared_script: false,
        ..knobs(&["hello there", "second one"])
    })
    .await
    .unwrap();
    let mut link = open(&sim, json!({"endpointing_ms": 300}));
    say(&link, voice(), 600).await;
    say(&link, SILENCE, 600).await;
    // The final is the second message of the first socket, and its last.
    let events = until(&mut link, |event| matches!(event, SttEvent::Final { .. })).await;
    assert_eq!(finals(&events), [("hello there", 900)]);
    say(&link, voice(), 600).await;
    say(&link, SILENCE, 600).await;
    let events = until(&mut link, |event| matches!(event, SttEvent::Final { .. })).await;
    // The new socket counts from what was frozen, 900 ms; the words begin at 1200 and are frozen 300 ms after 1800.
    assert_eq!(finals(&events), [("hello there", 2100)]);
    assert_eq!(sim.connections(), 2);
    assert!(!events.iter().any(|event| matches!(event, SttEvent::Ready { .. } | SttEvent::Down { .. })));
}

#[tokio::test]
async fn what_was_not_frozen_is_heard_again_on_the_next_socket() {
    let sim = Deepgram::start(Knobs { fault: Fault::Drop { after: 1 }, times: 1, ..knobs(&["hello there my friend"]) })
        .await
        .unwrap();
    let mut link = open(&sim, json!({}));
    say(&link, voice(), 1000).await;
    // The first partial is the last message of the first socket.
    assert!(matches!(next(&mut link).await, SttEvent::Ready { .. }));
    assert!(matches!(next(&mut link).await, SttEvent::Partial { .. }));
    say(&link, SILENCE, 600).await;
    let events = until(&mut link, |event| matches!(event, SttEvent::Final { .. })).await;
    assert_eq!(finals(&events), [("hello there my friend", 1300)]);
    assert_eq!(sim.connections(), 2);
}

#[tokio::test]
async fn a_vendor_that_falls_silent_while_the_caller_speaks_is_left() {
    let sim = Deepgram::start(Knobs { fault: Fault::Stall { after: 0 }, times: 1, ..knobs(&["are you there"]) })
        .await
        .unwrap();
    let mut link = open(&sim, json!({}));
    link.commands.send(SttCommand::SpeechStarted { at: 0 }).await.unwrap();
    say(&link, voice(), 600).await;
    say(&link, SILENCE, 600).await;
    let events = until(&mut link, |event| matches!(event, SttEvent::Final { .. })).await;
    assert_eq!(finals(&events), [("are you there", 900)]);
    assert_eq!(sim.connections(), 2);
}

#[tokio::test]
async fn garbage_between_the_messages_does_no_harm() {
    let sim = Deepgram::start(Knobs { fault: Fault::Garbage, ..knobs(&["hello"]) }).await.unwrap();
    let mut link = open(&sim, json!({}));
    say(&link, voice(), 600).await;
    say(&link, SILENCE, 600).await;
    let events = until(&mut link, |event| matches!(event, SttEvent::Final { .. })).await;
    assert_eq!(finals(&events), [("hello", 900)]);
}

#[tokio::test]
async fn a_wrong_key_is_down_at_once_and_for_good() {
    let sim = Deepgram::start(Knobs { key: Some("right".into()), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({"api_key": "wrong"}));
    let SttEvent::Down { reason, retry: false } = next(&mut link).await else { panic!("not down for good") };
    assert!(reason.contains("401") && reason.contains("INVALID_AUTH") && !reason.contains("wrong"), "{reason}");
    assert_eq!(sim.connections(), 1);
    assert!(link.events.recv().await.is_none());
}

#[tokio::test]
async fn too_many_requests_are_tried_again_and_then_work() {
    let busy = Fault::Refuse { status: 429, retry_after: None, code: "TOO_MANY_REQUESTS".into() };
    let sim =
        Deepgram::start(Knobs { fault: busy, times: 2, key: Some("right".into()), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({"api_key": "right"}));
    assert!(matches!(next(&mut link).await, SttEvent::Ready { .. }));
    assert_eq!(sim.connections(), 3);
}

#[tokio::test]
async fn a_vendor_that_stays_away_is_down_and_may_come_back() {
    let busy = Fault::Refuse { status: 503, retry_after: None, code: "busy".into() };
    let sim = Deepgram::start(Knobs { fault: busy, ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    assert!(matches!(next(&mut link).await, SttEvent::Down { retry: true, .. }));
    assert_eq!(sim.connections(), 4);
}

#[tokio::test]
async fn expected_phrases_go_out_with_the_handshake_and_the_end_is_said() {
    let sim = Deepgram::start(Knobs {
        fault: Fault::Refuse { status: 503, retry_after: None, code: "busy".into() },
        times: 1,
        ..Knobs::default()
    })
    .await
    .unwrap();
    let mut link = open(&sim, json!({"keyterms": ["Leeds"]}));
    link.commands.send(SttCommand::Expect(Hints { grammar: None, phrases: vec!["New York".into()] })).await.unwrap();
    assert!(matches!(next(&mut link).await, SttEvent::Ready { .. }));
    let SttLink { commands, mut events, .. } = link;
    drop(commands);
    // The link ends when the vendor has closed, so that what it got is complete.
    while timeout(Duration::from_secs(20), events.recv()).await.unwrap().is_some() {}
    let seen = sim.seen();
    let terms: Vec<_> = seen[0]["query"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0] == "keyterm")
        .map(|pair| pair[1].clone())
        .collect();
    assert_eq!(terms, ["Leeds", "New York"]);
    assert_eq!(seen.last().unwrap()["type"], "CloseStream");
}

#[tokio::test]
async fn a_socket_without_audio_is_kept_alive() {
    let sim = Deepgram::start(Knobs::default()).await.unwrap();
    let mut link = open(&sim, json!({}));
    assert!(matches!(next(&mut link).await, SttEvent::Ready { .. }));
    let kept = async {
        while !sim.seen().contains(&json!({"type": "KeepAlive"})) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(timeout(Duration::from_secs(20), kept).await, Ok(()));
    assert_eq!(sim.connections(), 1);
}

#[tokio::test]
async fn audio_from_before_the_connection_is_heard_and_what_is_too_old_keeps_the_clock_right() {
    let busy = Fault::Refuse { status: 503, retry_after: None, code: "busy".into() };
    let sim = Deepgram::start(Knobs { fault: busy, times: 1, ..knobs(&["hello"]) }).await.unwrap();
    let mut link = open(&sim, json!({"limits": {"replay_ms": 2000, "backoff_ms": 2000}}));
    say(&link, SILENCE, 4000).await;
    say(&link, voice(), 600).await;
    say(&link, SILENCE, 600).await;
    let events = until(&mut link, |event| matches!(event, SttEvent::Final { .. })).await;
    assert_eq!(finals(&events), [("hello", 4900)]);
    // Only the last two seconds of what came before the connection were sent.
    assert_eq!(sim.audio_bytes(), 2000 * 8);
}
