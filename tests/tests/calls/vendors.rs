//! A whole call over the vendors' protocols: Deepgram hears, an OpenAI model answers and books, ElevenLabs speaks; all simulated.

use serde_json::json;
use tests::sound::voice_ms;
use tests::{Phone, Sidetone};
use vendor_sim::{Deepgram, ElevenLabs, Knobs, OpenAi, Reply, ToolCall};

const OPENING: &str = "We are open from nine to five.";
const BOOKED: &str = "You are booked for Tuesday at ten.";

fn agent(deepgram: &str, openai: &str, elevenlabs: &str) -> String {
    format!(
        r#"name = "Vendors"
[greeting]
text = "Hello, this is the clinic."
[disclosure]
ai = false
[prompt]
system = "You are a receptionist. Be brief."
[stt]
provider = "deepgram"
model = "nova-3"
keywords = ["Hillside"]
settings.base_url = "{deepgram}"
settings.api_key = "deepgram-key"
[llm]
provider = "openai"
model = "gpt-4.1-mini"
settings.base_url = "{openai}"
settings.api_key = "openai-key"
[tts]
provider = "elevenlabs"
voice = "21m00Tcm4TlvDq8ikWAM"
settings.base_url = "{elevenlabs}"
settings.api_key = "elevenlabs-key"
[[tools]]
name = "book_slot"
kind = "book_slot"
description = "Book a visit"
parameters = {{ type = "object", properties = {{ at = {{ type = "string" }} }}, required = ["at"] }}
"#
    )
}

fn with_key(key: &str) -> Knobs {
    Knobs { key: Some(key.into()), ..Knobs::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_carried_by_the_vendors() {
    tests::enter();
    let heard = ["When are you open?", "Book me in for Tuesday at ten please."];
    let ears = Knobs { transcripts: heard.map(str::to_owned).to_vec(), ..with_key("deepgram-key") };
    let booking = ToolCall { name: "book_slot".into(), arguments: json!({"at": "2030-01-08T10:00"}) };
    let replies = vec![
        Reply { when: "open".into(), text: OPENING.into(), ..Reply::default() },
        Reply { when: "tuesday".into(), tools: vec![booking], then: BOOKED.into(), ..Reply::default() },
    ];
    let mind = Knobs { replies, ..with_key("openai-key") };
    let deepgram = Deepgram::start(ears).await.unwrap();
    let openai = OpenAi::start(mind).await.unwrap();
    let elevenlabs = ElevenLabs::start(with_key("elevenlabs-key")).await.unwrap();
    let agent = agent(&deepgram.ws(), &openai.http(), &elevenlabs.ws());
    let server = Sidetone::with(|plan| plan.agent("vendors", &agent)).await;

    let spoken =
        Phone::new(&server, "vendors", "patient").say("when are you open").say("book me in for tuesday at ten please");
    let spoken = spoken.with("--linger", "5").call().await;
    assert_eq!(spoken.code, Some(0), "{:#}\n{}", spoken.report, server.log());
    let call = server.api.ended("patient").await;
    assert_eq!((&call["status"], &call["degraded"]), (&"completed".into(), &false.into()), "{call:#}");
    let id = call["id"].as_str().unwrap();

    let turns = server.api.transcript(id).await;
    let said: Vec<_> =
        turns.iter().filter_map(|turn| Some((turn["speaker"].as_str()?, turn["heard_text"].as_str()?))).collect();
    let wanted = [
        ("agent", "Hello, this is the clinic."),
        ("caller", heard[0]),
        ("agent", OPENING),
        ("caller", heard[1]),
        ("agent", BOOKED),
    ];
    assert_eq!(said, wanted);
    let bookings = server.api.bookings().await;
    assert_eq!((bookings.len(), &bookings[0]["slot"]), (1, &"2030-01-08T10:00".into()), "{bookings:#?}");

    // What the vendors saw of it.
    assert!(deepgram.audio_bytes() > 40_000, "Deepgram got {} bytes", deepgram.audio_bytes());
    let asked = deepgram.seen()[0].to_string();
    assert!(asked.contains(r#"["keyterm","Hillside"]"#), "Deepgram was asked {asked}");
    let asked = openai.seen();
    let last = asked.last().unwrap()["messages"].to_string();
    for words in [heard[0], OPENING, heard[1]] {
        assert!(last.contains(words), "the model was not told {words:?}: {last}");
    }
    assert!(elevenlabs.connections() >= 1);
    let recording = server.api.recording(id).await;
    assert!(voice_ms(&recording.agent) > 2_000, "{} ms of the agent", voice_ms(&recording.agent));
}
