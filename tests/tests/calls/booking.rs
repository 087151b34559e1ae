//! The built-in receptionist books a slot by speech, and everything that the call leaves behind agrees with it.

use std::path::Path;

use serde_json::Value;
use tests::sound::{between, longest_hole_ms, pauses_ms, voice_ms};
use tests::{GREETING, Phone, Sidetone, flite};

/// What is said, and by whom; empty where the words hang on the calendar.
const CONVERSATION: [(&str, &str); 15] = [
    ("agent", GREETING),
    ("caller", "i would like to book an appointment"),
    ("agent", "Which day and time suit you?"),
    ("caller", "tuesday at ten"),
    ("agent", ""),
    ("caller", "yes"),
    ("agent", "What is your name?"),
    ("caller", "john smith"),
    ("agent", "Please key in your telephone number, and end with the pound key."),
    ("caller", "5550123456"),
    ("agent", "five five five, zero one two, three four five six, is that right?"),
    ("caller", "yes"),
    ("agent", ""),
    ("caller", "no thank you"),
    ("agent", "Goodbye."),
];
/// Silence inside the agent's speech that a caller would take for a dropout, ms.
const DROPOUT_MS: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visit_is_booked_by_speech() {
    let server = Sidetone::start().await;
    let spoken = Phone::new(&server, "demo", "booking")
        .say("i would like to book an appointment")
        .say("tuesday at ten")
        .say("yes")
        .say("john smith")
        .keys("5550123456#")
        .say("yes")
        .say("no thank you")
        .call()
        .await;
    assert_eq!(spoken.code, Some(0), "{:#}", spoken.report);
    assert_eq!((&spoken.report["ended"], &spoken.report["lost_packets"]), (&"the agent hung up".into(), &0.into()));

    let call = server.api.ended("booking").await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"agent_hung_up".into()), "{call:#}");
    assert_eq!(call["degraded"], false);
    let id = call["id"].as_str().unwrap();

    let turns = server.api.transcript(id).await;
    transcript_is_complete(&turns);
    let bookings = server.api.bookings().await;
    assert_eq!(bookings.len(), 1, "{bookings:#?}");
    let (slot, data) = (bookings[0]["slot"].as_str().unwrap(), &bookings[0]["data"]);
    assert!(slot.ends_with("T10:00"), "{slot}");
    assert_eq!((&data["name"], &data["phone"]), (&"John Smith".into(), &"5550123456".into()));
    assert_eq!(bookings[0]["call_id"], id);
    events_are_whole(&server.api.events(id).await);

    let recording = server.api.recording(id).await;
    assert!(voice_ms(&recording.caller) > 4_000, "caller: {} ms of voice", voice_ms(&recording.caller));
    assert!(voice_ms(&recording.agent) > 10_000, "agent: {} ms of voice", voice_ms(&recording.agent));
    let heard_ms = spoken.sound.agent.len() as u64 / 8;
    assert!(recording.agent.len() as u64 / 8 + 500 > heard_ms, "the recording is shorter than the call");

    // No dropouts: as it was sent, against the same voice made apart; as it arrived, against what was sent.
    for turn in turns.iter().filter(|turn| turn["speaker"] == "agent") {
        let (start_ms, end_ms) = span(turn);
        let text = turn["text"].as_str().unwrap();
        let sent = between(&recording.agent, start_ms.saturating_sub(100), end_ms + 200);
        no_pauses_but_its_own(server.dir(), text, sent);
        let arrived = between(&spoken.sound.agent, start_ms.saturating_sub(400), end_ms + 600);
        let hole_ms = longest_hole_ms(between(&recording.agent, start_ms, end_ms), arrived);
        assert!(hole_ms <= DROPOUT_MS, "{hole_ms} ms without voice in {text:?} as it arrived");
    }
}

/// The voice's own pauses are those of the same words spoken apart; between sentences it breathes.
fn no_pauses_but_its_own(dir: &Path, text: &str, sent: &[i16]) {
    let sentences: Vec<_> = text.split_inclusive(['.', '?']).map(str::trim).collect();
    let mut natural: Vec<_> =
        sentences.iter().flat_map(|sentence| pauses_ms(&flite::say(dir, "slt", sentence))).collect();
    natural.sort_unstable_by(|a, b| b.cmp(a));
    let pauses = pauses_ms(sent);
    let (breaths, inner) = pauses.split_at(pauses.len().min(sentences.len() - 1));
    assert!(breaths.iter().all(|breath| *breath < 700), "{breaths:?} ms between the sentences of {text:?}");
    let natural = natural.into_iter().chain(std::iter::repeat(0));
    let dropped = inner.iter().zip(natural).find(|(pause, natural)| **pause > natural + DROPOUT_MS);
    assert_eq!(dropped, None, "(ms in the recording, ms in the voice) of {text:?}: {inner:?}");
}

fn span(turn: &Value) -> (u64, u64) {
    (turn["start_ms"].as_u64().unwrap(), turn["end_ms"].as_u64().unwrap())
}

fn transcript_is_complete(turns: &[Value]) {
    let shown = turns.iter().map(|turn| format!("{} {}", turn["speaker"], turn["text"])).collect::<Vec<_>>().join("\n");
    assert_eq!(turns.len(), CONVERSATION.len(), "{shown}");
    for (turn, (speaker, text)) in turns.iter().zip(CONVERSATION) {
        assert_eq!(turn["speaker"], speaker, "{shown}");
        assert!(text.is_empty() || turn["text"] == text, "{shown}");
        assert_eq!((&turn["heard_text"], &turn["interrupted"]), (&turn["text"], &false.into()), "{shown}");
    }
    assert!(turns[12]["text"].as_str().unwrap().starts_with("You are booked for Tuesday at ten"), "{shown}");
    let mut clock = 0;
    for (start_ms, end_ms) in turns.iter().map(span) {
        assert!(clock <= start_ms && start_ms <= end_ms, "times go back: {turns:#?}");
        clock = start_ms;
    }
}

fn events_are_whole(events: &[Value]) {
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "events are numbered without holes");
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("call.created"), count("call.answered"), count("call.ended")), (1, 1, 1));
    assert_eq!((count("booking.created"), count("call.recording.ready"), count("call.dtmf.received")), (1, 1, 11));
    assert_eq!((count("call.turn.caller"), count("call.turn.agent")), (7, 8));
}
