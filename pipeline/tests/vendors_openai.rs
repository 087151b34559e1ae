//! The OpenAI link against its simulator: streams cut anywhere, tools, faults and cancellation.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pipeline::llm::{Line, LlmCommand, LlmEvent, LlmLink, Tool, roster};
use serde_json::{Value, json};
use tokio::time::timeout;
use vendor_sim::{Fault, Knobs, OpenAi, Reply, Running, ToolCall};

fn open(sim: &Running, more: Value) -> LlmLink {
    let mut settings =
        json!({"model": "m", "base_url": sim.http(), "limits": {"first_byte_ms": 2000, "stall_ms": 1000}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    roster::open("openai", &settings).unwrap()
}

async fn ask(link: &LlmLink, r#gen: u64, lines: Vec<Line>) {
    let tools = vec![Tool { name: "book".into(), description: "Books.".into(), parameters: json!({"type": "object"}) }];
    link.commands.send(LlmCommand::Generate { r#gen, lines, tools }).await.unwrap();
}

fn caller(text: &str) -> Vec<Line> {
    vec![Line::System("Be brief.".into()), Line::Caller(text.into())]
}

/// Everything that is said up to the end of the generation: its text, its calls, its end.
async fn answer(link: &mut LlmLink) -> (String, Vec<LlmEvent>, LlmEvent) {
    let (mut text, mut calls) = (String::new(), Vec::new());
    loop {
        match timeout(Duration::from_secs(20), link.events.recv())
            .await
            .expect("an event in time")
            .expect("an open link")
        {
            LlmEvent::Token { text: token, .. } => text.push_str(&token),
            call @ LlmEvent::ToolCall { .. } => calls.push(call),
            end => return (text, calls, end),
        }
    }
}

fn failed(end: &LlmEvent) -> Option<bool> {
    if let LlmEvent::Error { retry, .. } = end { Some(*retry) } else { None }
}

#[tokio::test]
async fn text_arrives_whole_though_its_characters_were_cut() {
    let text = "Grüß Gott, très bien — naïve 漢字 😀.";
    let sim =
        OpenAi::start(Knobs { default_reply: text.into(), key: Some("k".into()), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({"api_key": "k", "temperature": 0.4, "max_tokens": 300, "extra": {"seed": 7}}));
    ask(&link, 3, caller("hi")).await;
    let (said, calls, end) = answer(&mut link).await;
    assert_eq!((said.as_str(), calls.len()), (text, 0));
    assert!(matches!(end, LlmEvent::Done { r#gen: 3, input_tokens: 1.., output_tokens: 1.. }), "{end:?}");
    let seen = sim.seen();
    assert_eq!(
        (&seen[0]["max_tokens"], &seen[0]["seed"], &seen[0]["temperature"]),
        (&json!(300), &json!(7), &json!(0.4))
    );
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_answered() {
    let reply = Reply {
        when: "BOOK".into(),
        text: "One moment. ".into(),
        tools: vec![
            ToolCall { name: "book".into(), arguments: json!({"at": "tuesday at ten", "for": "Zoë"}) },
            ToolCall { name: "note".into(), arguments: json!({}) },
        ],
        then: "You are booked.".into(),
    };
    let sim = OpenAi::start(Knobs { replies: vec![reply], ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    ask(&link, 1, caller("please book tuesday")).await;
    let (text, calls, end) = answer(&mut link).await;
    assert_eq!(text, "One moment. ");
    assert!(matches!(end, LlmEvent::Done { .. }));
    let mut lines = caller("please book tuesday");
    lines.push(Line::Agent(text));
    for call in calls {
        let LlmEvent::ToolCall { r#gen: 1, id, name, arguments } = call else { panic!("{call:?}") };
        if name == "book" {
            assert_eq!(
                serde_json::from_str::<Value>(&arguments).unwrap(),
                json!({"at": "tuesday at ten", "for": "Zoë"})
            );
        }
        lines.push(Line::Tool { id, name, arguments, result: Some("ok".into()) });
    }
    assert_eq!(lines.len(), 5);
    ask(&link, 2, lines).await;
    assert_eq!(answer(&mut link).await.0, "You are booked.");
}

#[tokio::test]
async fn refusals_say_whether_to_try_again() {
    for (status, code, retry) in [
        (429, "rate_limit_exceeded", true),
        (429, "insufficient_quota", false),
        (500, "server_error", true),
        (404, "model_not_found", false),
    ] {
        let fault = Fault::Refuse { status, retry_after: Some(1), code: code.into() };
        let sim = OpenAi::start(Knobs { fault, ..Knobs::default() }).await.unwrap();
        let mut link = open(&sim, json!({}));
        ask(&link, 1, caller("hi")).await;
        assert_eq!(failed(&answer(&mut link).await.2), Some(retry), "{status} {code}");
        assert_eq!(sim.connections(), 1);
    }
}

#[tokio::test]
async fn a_wrong_key_is_permanent_and_not_told() {
    let sim = OpenAi::start(Knobs { key: Some("right".into()), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({"api_key": "sk-wrong"}));
    ask(&link, 1, caller("hi")).await;
    let LlmEvent::Error { reason, retry: false, .. } = answer(&mut link).await.2 else { panic!("no permanent error") };
    assert!(!reason.contains("sk-wrong"), "{reason}");
}

#[tokio::test]
async fn what_breaks_in_the_middle_is_an_error_after_its_text() {
    for fault in [Fault::Drop { after: 3 }, Fault::Stall { after: 3 }, Fault::Error { after: 3 }] {
        let sim = OpenAi::start(Knobs { fault: fault.clone(), ..Knobs::default() }).await.unwrap();
        let mut link = open(&sim, json!({}));
        ask(&link, 1, caller("hi")).await;
        let (text, _, end) = answer(&mut link).await;
        assert_eq!((text.as_str(), failed(&end)), ("I see. ", Some(true)), "{fault:?}");
    }
}

#[tokio::test]
async fn a_model_that_never_begins_is_given_up() {
    let sim = OpenAi::start(Knobs { first_byte: Duration::from_secs(60), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({"limits": {"first_byte_ms": 200}}));
    ask(&link, 1, caller("hi")).await;
    assert_eq!(failed(&answer(&mut link).await.2), Some(true));
}

#[tokio::test]
async fn garbage_in_the_stream_is_passed_over() {
    let sim = OpenAi::start(Knobs { fault: Fault::Garbage, ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    ask(&link, 1, caller("hi")).await;
    let (text, _, end) = answer(&mut link).await;
    assert_eq!(text, Knobs::default().default_reply);
    assert!(matches!(end, LlmEvent::Done { .. }));
}

#[tokio::test]
async fn arguments_that_are_no_json_never_reach_a_tool() {
    let reply = Reply {
        when: "hi".into(),
        tools: vec![ToolCall { name: "book".into(), arguments: json!({"a": 1}) }],
        ..Reply::default()
    };
    let sim =
        OpenAi::start(Knobs { replies: vec![reply], fault: Fault::BadArguments, ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    ask(&link, 1, caller("hi")).await;
    let (_, calls, end) = answer(&mut link).await;
    assert_eq!((calls.len(), failed(&end)), (0, Some(true)));
}

#[tokio::test]
async fn a_cancelled_generation_hangs_up_and_the_next_one_answers() {
    let sim = OpenAi::start(Knobs { pace: Duration::from_millis(50), ..Knobs::default() }).await.unwrap();
    let mut link = open(&sim, json!({}));
    ask(&link, 1, caller("hi")).await;
    assert!(matches!(link.events.recv().await, Some(LlmEvent::Token { r#gen: 1, .. })));
    link.commands.send(LlmCommand::Cancel { r#gen: 1 }).await.unwrap();
    ask(&link, 2, caller("hi")).await;
    let done = async {
        loop {
            match link.events.recv().await {
                Some(LlmEvent::Done { r#gen, .. }) => return r#gen,
                Some(LlmEvent::Error { reason, .. }) => panic!("{reason}"),
                Some(_) => {}
                None => panic!("the link is gone"),
            }
        }
    };
    assert_eq!(timeout(Duration::from_secs(20), done).await, Ok(2));
    let hung_up = async {
        while sim.cancelled() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert_eq!(timeout(Duration::from_secs(20), hung_up).await, Ok(()));
}

#[tokio::test]
async fn nobody_listening_is_an_error_that_may_pass() {
    let sim = OpenAi::start(Knobs::default()).await.unwrap();
    let mut link = open(&sim, json!({"base_url": "http://127.0.0.1:9/v1"}));
    ask(&link, 1, caller("hi")).await;
    assert_eq!(failed(&answer(&mut link).await.2), Some(true));
}

#[tokio::test]
async fn a_vendor_without_tls_is_an_error() {
    let sim = OpenAi::start(Knobs::default()).await.unwrap();
    let mut link = open(&sim, json!({"base_url": format!("https://{}/v1", sim.addr())}));
    ask(&link, 1, caller("hi")).await;
    assert_eq!(failed(&answer(&mut link).await.2), Some(true));
}

#[tokio::test]
async fn use_is_counted_by_model() {
    let sim = OpenAi::start(Knobs::default()).await.unwrap();
    let mut link = open(&sim, json!({"model": "counted"}));
    ask(&link, 1, caller("hi")).await;
    let LlmEvent::Done { input_tokens, output_tokens, .. } = answer(&mut link).await.2 else { panic!("no answer") };
    let all = pipeline::link::usage::all();
    let (_, counts) = all.iter().find(|(name, _)| name == "openai/counted").unwrap();
    assert_eq!((counts.connects, counts.failures, counts.first_bytes), (1, 0, 1));
    assert_eq!((counts.input_tokens, counts.output_tokens), (input_tokens.into(), output_tokens.into()));
}
