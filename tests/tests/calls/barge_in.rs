//! The caller talks over a long greeting: the agent falls silent, and the record holds what was heard of it.

use tests::sound::{between, onset, spans, voice_ms};
use tests::{Phone, Sidetone, workspace};

/// The receptionist's own greeting, as its file has it.
const SHIPPED: &str = "Hillside clinic. {{disclosure}} How can I help?";
const GREETING: &str = "Welcome to the Hillside clinic, where we have been looking after families of this town and of all the \
    villages around it for more than forty years, with nine doctors and a great many friendly nurses";
/// From the caller's first sound to the agent's last, ms.
const SILENT_WITHIN_MS: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_falls_silent_when_it_is_talked_over() {
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let talker = receptionist.replace(SHIPPED, GREETING).replace("[disclosure]", "[disclosure]\nai = false");
    assert!(talker.contains(GREETING), "the receptionist greets with other words now");
    let server = Sidetone::with(|plan| plan.agent("talker", &talker)).await;
    let spoken = Phone::new(&server, "talker", "interrupter")
        .with("--interrupt", "2.5:i would like to book an appointment")
        .with("--linger", "3")
        .call()
        .await;
    let call = server.api.ended("interrupter").await;
    let id = call["id"].as_str().unwrap();
    let recording = server.api.recording(id).await;

    let began = onset(&recording.caller, 0).expect("the caller is on the recording");
    let speech = spans(&recording.caller, 400)[0];
    assert!(voice_ms(between(&recording.agent, 0, began)) > 1_500, "the greeting was under way at {began} ms");
    let tail = between(&recording.agent, began + SILENT_WITHIN_MS, speech.end_ms);
    assert!(tail.len() > 8_000, "the caller spoke too shortly to tell: {speech:?}");
    assert_eq!(voice_ms(tail), 0, "the agent went on over {speech:?}: {:?}", spans(&recording.agent, 100));
    // The phone heard the same.
    let began = onset(&spoken.sound.caller, 0).unwrap();
    let speech = spans(&spoken.sound.caller, 400)[0];
    assert_eq!(voice_ms(between(&spoken.sound.agent, began + SILENT_WITHIN_MS + 100, speech.end_ms)), 0);

    let turns = server.api.transcript(id).await;
    let greeting = &turns[0];
    let (text, heard) = (greeting["text"].as_str().unwrap(), greeting["heard_text"].as_str().unwrap());
    assert_eq!((text, &greeting["interrupted"]), (GREETING, &true.into()));
    assert!(text.starts_with(heard) && heard.len() < text.len() && !heard.is_empty(), "heard {heard:?}");
    // Some three seconds of it were played: not one word, and not half of it.
    let words = heard.split_whitespace().count();
    assert!((4..=16).contains(&words), "heard {words} words: {heard:?}");
    assert_eq!(
        (&turns[1]["speaker"], &turns[1]["text"]),
        (&"caller".into(), &"i would like to book an appointment".into())
    );
    assert_eq!(turns[2]["text"], "Which day and time suit you?");
    let events = server.api.events(id).await;
    assert!(events.iter().any(|event| event["type"] == "call.turn.interrupted"));
}
