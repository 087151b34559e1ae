//! A call is handed over: both hear each other, keys pass, and whoever hangs up, or does not answer, is dealt with.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::sound::{between, voice_ms};
use tests::{Line, Phone, Sidetone, Sip, header, workspace};

/// Silence in µ-law.
const QUIET: [u8; 160] = [0xff; 160];

/// An agent that stays on the line whatever it believes to hear.
const PATIENT: &str = r#"
name = "Patient"
mode = "flow"
[greeting]
text = "Hello."
[flow]
start = "listen"
globals = { goodbye = "listen", operator = "listen" }
[flow.states.listen]
expect = { kind = "digits", min = 9, max = 9 }
set = "digits"
go = "bye"
no_match = { say = "Please go on.", max = 100, go = "listen" }
no_input = { say = "Please go on.", max = 100, go = "listen" }
[flow.states.bye]
say = "Goodbye."
end = true
"#;

/// A loud tone of 500 Hz in µ-law.
fn tone() -> [u8; 160] {
    let samples: [i16; 160] =
        std::array::from_fn(|n| ((n as f64 * std::f64::consts::TAU / 16.0).sin() * 9000.0) as i16);
    let mut bytes = [0; 160];
    codecs::g711::encode(codecs::g711::Law::Mu, &samples, &mut bytes);
    bytes
}

/// How much of some samples is that tone: its energy of all, frame by frame, so that a frame lost or made up costs itself only.
fn share_of_tone(samples: &[i16]) -> f64 {
    let (mut tone, mut all) = (0.0, 1.0);
    for frame in samples.chunks_exact(160) {
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in frame.iter().enumerate() {
            let (angle, sample) = (n as f64 * std::f64::consts::TAU / 16.0, f64::from(*sample));
            sine += sample * angle.sin();
            cosine += sample * angle.cos();
            all += sample * sample;
        }
        tone += (sine * sine + cosine * cosine) / 80.0;
    }
    tone / all
}

fn decoded(frames: &[[u8; 160]]) -> Vec<i16> {
    let mut samples = vec![0; frames.len() * 160];
    for (frame, to) in frames.iter().zip(samples.chunks_mut(160)) {
        codecs::g711::decode(codecs::g711::Law::Mu, frame, to);
    }
    samples
}

async fn id_of(server: &Sidetone, line: &Line) -> String {
    for _ in 0..50 {
        if let Some(call) = server.api.call_from(line.name()).await {
            return call["id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the call has no row");
}

/// The only call of a server.
async fn only(server: &Sidetone) -> String {
    let calls = server.api.calls().await;
    assert_eq!(calls.len(), 1, "{calls:#?}");
    calls[0]["id"].as_str().unwrap().to_owned()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().filter_map(|event| event["type"].as_str());
    kinds.filter_map(|kind| kind.strip_prefix("call.transfer.")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_and_target_hear_each_other_until_the_caller_hangs_up() {
    let (ours, theirs) = tokio::join!(Sidetone::start(), Sidetone::start());
    let mut line = Line::call(ours.sip, &ours.uri("demo")).await;
    let id = id_of(&ours, &line).await;
    line.talk(25, Duration::ZERO, |_| QUIET).await;
    let begun = ours.api.post(&format!("calls/{id}/transfer"), &json!({"to": theirs.uri("bench")})).await;
    assert_eq!(
        ours.api.refused(Method::POST, &format!("calls/{id}/transfer"), &json!({"to": theirs.uri("bench")})).await,
        (409, "transfer_in_progress".into())
    );
    let bridged = ours.api.told(&id, "call.transfer.bridged").await;
    assert_eq!(bridged["data"]["transfer_id"], begun["transfer_id"]);
    // Ringback and what piled up in the socket meanwhile.
    line.talk(10, Duration::from_millis(100), |_| QUIET).await;
    let frames = line.talk(300, Duration::ZERO, |_| tone()).await;
    assert!((290..=312).contains(&frames.len()), "{} packets came in six seconds", frames.len());
    let heard = decoded(&frames);
    // The prompt of the bench has its pauses; what is not it is nothing.
    assert!(voice_ms(&heard) > 2_000, "{} ms of voice came from the target", voice_ms(&heard));
    assert!(share_of_tone(&heard) < 0.1, "the caller hears themself");
    line.hang_up().await;

    let call = ours.api.until(&id, |call| call["ended_at"].is_string() && call["recording"]["state"] == "ready").await;
    assert_eq!(
        (&call["ended_reason"], &call["transfer"]["state"]),
        (&"caller_hung_up".into(), &"completed".into()),
        "{call:#}"
    );
    assert_eq!(kinds(&ours.api.events(&id).await), ["started", "ringing", "bridged", "completed"]);
    let other = only(&theirs).await;
    let there = theirs.api.until(&other, |call| call["recording"]["state"] == "ready").await;
    assert_eq!(there["ended_reason"], "caller_hung_up", "{there:#}");
    let recorded = theirs.api.recording(&other).await.caller;
    let end = recorded.len() as u64 / 8;
    let tone = share_of_tone(between(&recorded, end.saturating_sub(5_000), end.saturating_sub(1_000)));
    assert!(tone > 0.9, "of what the target heard only {tone:.2} is the caller");
    // Our own recording has the caller left and the target right.
    let both = ours.api.recording(&id).await;
    let end = both.caller.len() as u64 / 8;
    assert!(share_of_tone(between(&both.caller, end.saturating_sub(5_000), end.saturating_sub(1_000))) > 0.9);
    assert!(voice_ms(between(&both.agent, end.saturating_sub(5_000), end)) > 1_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_and_keys_of_the_caller_reach_the_target() {
    let (ours, theirs) = tokio::join!(Sidetone::start(), Sidetone::start());
    let phone = Phone::new(&ours, "demo", "passed").say("what are your opening hours").keys("3");
    let calling = tokio::spawn(phone.call());
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let id = loop {
        assert!(std::time::Instant::now() < until, "the phone does not call");
        if let Some(call) = ours.api.call_from("passed").await.filter(|call| call["status"] == "in_progress") {
            break call["id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ours.api.post(&format!("calls/{id}/transfer"), &json!({"to": theirs.uri("demo"), "caller_id": "caller"})).await;
    ours.api.told(&id, "call.transfer.bridged").await;
    let other = only(&theirs).await;
    assert!(theirs.api.call_from("passed").await.is_some(), "the target does not see the caller's address");
    let key = theirs.api.told(&other, "call.dtmf.received").await;
    assert_eq!(key["data"]["digit"], "3");
    let spoken = calling.await.unwrap();
    assert!(voice_ms(&spoken.sound.agent) > 2_000, "{:#}", spoken.report);
    let turns = theirs.api.transcript(&other).await;
    let said = turns.iter().find(|turn| turn["speaker"] == "caller").expect("the caller was understood");
    assert!(said["text"].as_str().unwrap().contains("hours"), "{turns:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_up_ends_the_call_as_transferred() {
    let (ours, theirs) = tokio::join!(Sidetone::start(), Sidetone::start());
    let mut line = Line::call(ours.sip, &ours.uri("demo")).await;
    let id = id_of(&ours, &line).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    ours.api.post(&format!("calls/{id}/transfer"), &json!({"to": theirs.uri("bench")})).await;
    ours.api.told(&id, "call.transfer.bridged").await;
    let other = only(&theirs).await;
    theirs.api.post(&format!("calls/{other}/end"), &json!({})).await;
    let bye = line.sip().request("BYE").await;
    line.sip().answer(&bye, "200 OK", "").await;
    let call = ours.api.until(&id, |call| call["ended_at"].is_string()).await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"transferred".into()), "{call:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_answers_the_agent_goes_on_and_a_caller_can_be_taken_back() {
    let (ours, theirs) = tokio::join!(Sidetone::start(), Sidetone::start());
    let mut line = Line::call(ours.sip, &ours.uri("demo")).await;
    let id = id_of(&ours, &line).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    let talking = tokio::spawn(async move {
        line.talk(1200, Duration::ZERO, |_| QUIET).await;
    });
    let path = format!("calls/{id}/transfer");
    ours.api.post(&path, &json!({"to": theirs.uri("nobody")})).await;
    let failed = ours.api.told(&id, "call.transfer.failed").await;
    assert_eq!((&failed["data"]["sip_status"], &failed["data"]["reason"]), (&404.into(), &"unknown_number".into()));
    let sorry = |event: &Value| {
        event["type"] == "call.turn.agent"
            && event["data"]["text"].as_str().unwrap_or_default().starts_with("I am sorry, nobody")
    };
    ours.api.event(&id, sorry).await;
    assert_eq!(ours.api.refused(Method::DELETE, &path, &json!({})).await, (409, "no_transfer".into()));
    ours.api.post(&path, &json!({"to": theirs.uri("bench")})).await;
    ours.api.told(&id, "call.transfer.bridged").await;
    ours.api.delete(&path).await;
    let back = |event: &Value| event["type"] == "call.turn.agent" && event["data"]["text"] == "I am back with you.";
    ours.api.event(&id, back).await;
    let other = only(&theirs).await;
    theirs.api.until(&other, |call| call["ended_reason"] == "caller_hung_up").await;
    ours.api.post(&format!("calls/{id}/end"), &json!({})).await;
    ours.api.until(&id, |call| call["ended_reason"] == "api_ended").await;
    talking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_while_it_rings_stops_the_ringing() {
    let ours = Sidetone::start().await;
    let target = Sip::towards(ours.sip).await;
    let mut line = Line::call(ours.sip, &ours.uri("demo")).await;
    let id = id_of(&ours, &line).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    ours.api.post(&format!("calls/{id}/transfer"), &json!({"to": format!("sip:slow@{}", target.at())})).await;
    let invite = target.request("INVITE").await;
    target.answer(&invite, "180 Ringing", "Contact: <sip:slow@127.0.0.1>\r\n").await;
    ours.api.told(&id, "call.transfer.ringing").await;
    // Meanwhile the caller hears that it rings.
    let frames = line.talk(250, Duration::ZERO, |_| QUIET).await;
    assert!(voice_ms(&decoded(&frames)) >= 800, "{} ms of ringback", voice_ms(&decoded(&frames)));
    line.hang_up().await;
    let cancel = target.request("CANCEL").await;
    assert_eq!(header(&cancel, "Call-ID"), header(&invite, "Call-ID"));
    target.answer(&cancel, "200 OK", "").await;
    target.answer(&invite, "487 Request Terminated", "").await;
    let call = ours.api.until(&id, |call| call["ended_at"].is_string()).await;
    assert_eq!(
        (&call["ended_reason"], &call["transfer"]["state"]),
        (&"caller_hung_up".into(), &"failed".into()),
        "{call:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referred_caller_calls_by_itself() {
    let ours = Sidetone::start().await;
    let mut line = Line::call(ours.sip, &ours.uri("demo")).await;
    let id = id_of(&ours, &line).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    let order = json!({"to": "sip:desk@127.0.0.1:5999", "mode": "refer"});
    ours.api.post(&format!("calls/{id}/transfer"), &order).await;
    let refer = line.sip().request("REFER").await;
    assert_eq!(header(&refer, "Refer-To"), "<sip:desk@127.0.0.1:5999>");
    line.sip().answer(&refer, "202 Accepted", "Contact: <sip:hand@127.0.0.1>\r\n").await;
    for (cseq, frag, state) in
        [(2, "SIP/2.0 180 Ringing\r\n", "active;expires=60"), (3, "SIP/2.0 200 OK\r\n", "terminated;reason=noresource")]
    {
        let headers =
            format!("Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n");
        let answer = line.sip().ask(&line.within_with("NOTIFY", cseq, &headers, frag)).await;
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
    let bye = line.sip().request("BYE").await;
    line.sip().answer(&bye, "200 OK", "").await;
    let call = ours.api.until(&id, |call| call["ended_at"].is_string()).await;
    assert_eq!(
        (&call["ended_reason"], &call["transfer"]["mode"]),
        (&"transferred".into(), &"refer".into()),
        "{call:#}"
    );
    assert_eq!(kinds(&ours.api.events(&id).await), ["started", "ringing", "completed"]);
}

/// Answers NOTIFYs until one says so.
async fn notified(line: &Line, wanted: &str) {
    loop {
        let notify = line.sip().request("NOTIFY").await;
        line.sip().answer(&notify, "200 OK", "").await;
        if notify.contains(wanted) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_passed_on_talks_to_somebody_else() {
    // Both are patient: who plays without a pause leaves nobody the floor.
    let patient = || Sidetone::with(|plan| plan.agent("patient", PATIENT));
    let (ours, theirs) = tokio::join!(patient(), patient());
    let mut line = Line::call(ours.sip, &ours.uri("patient")).await;
    let id = id_of(&ours, &line).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    let refer = line.within_with("REFER", 2, &format!("Refer-To: <{}>\r\n", theirs.uri("patient")), "");
    let answer = line.sip().ask(&refer).await;
    assert!(answer.starts_with("SIP/2.0 202"), "{answer}");
    notified(&line, "SIP/2.0 200").await;
    line.hang_up().await;
    ours.api.told(&id, "call.transfer.bridged").await;
    // Each has had its say; now nobody speaks for a while.
    ours.api.event(&id, |event| event["data"]["text"] == "Please go on.").await;
    let say = ours
        .api
        .post(
            &format!("calls/{id}/say"),
            &json!({"text": "Now I talk to you instead.", "when": "now", "interruptible": false}),
        )
        .await;
    let said = |event: &Value| event["type"] == "call.turn.agent" && event["data"]["say_id"] == say["say_id"];
    ours.api.event(&id, said).await;
    let other = only(&theirs).await;
    theirs.api.post(&format!("calls/{other}/end"), &json!({})).await;
    let call = ours.api.until(&id, |call| call["ended_at"].is_string() && call["recording"]["state"] == "ready").await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&"completed".into(), &"caller_hung_up".into()), "{call:#}");
    theirs.api.until(&other, |call| call["recording"]["state"] == "ready").await;
    let heard = voice_ms(&theirs.api.recording(&other).await.caller);
    assert!(heard > 800, "of the agent the target heard {heard} ms");
    // What the new partner says is the caller's side of our recording.
    let answered = voice_ms(&ours.api.recording(&id).await.caller);
    assert!(answered > 500, "of the target the agent heard {answered} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attended_transfer_names_the_call_to_take_over_and_bridges_where_that_is_refused() {
    let (ours, theirs) = tokio::join!(Sidetone::start(), Sidetone::start());
    for taken in [true, false] {
        let mut line = Line::call(ours.sip, &ours.uri("demo")).await;
        let id = id_of(&ours, &line).await;
        line.talk(10, Duration::ZERO, |_| QUIET).await;
        let order = json!({"to": theirs.uri("bench"), "mode": "attended"});
        ours.api.post(&format!("calls/{id}/transfer"), &order).await;
        let refer = line.sip().request("REFER").await;
        let target = header(&refer, "Refer-To");
        assert!(target.starts_with(&format!("<{}?Replaces=", theirs.uri("bench"))), "{target}");
        assert!(target.contains("to-tag%3D") && target.contains("from-tag%3D"), "{target}");
        if taken {
            line.sip().answer(&refer, "202 Accepted", "Contact: <sip:hand@127.0.0.1>\r\n").await;
            let headers =
                "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\nContent-Type: message/sipfrag\r\n";
            let answer = line.sip().ask(&line.within_with("NOTIFY", 2, headers, "SIP/2.0 200 OK\r\n")).await;
            assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
            let bye = line.sip().request("BYE").await;
            line.sip().answer(&bye, "200 OK", "").await;
        } else {
            line.sip().answer(&refer, "603 Decline", "").await;
            ours.api.told(&id, "call.transfer.bridged").await;
            line.hang_up().await;
        }
        let call = ours.api.until(&id, |call| call["ended_at"].is_string()).await;
        let reason = if taken { "transferred" } else { "caller_hung_up" };
        assert_eq!(
            (&call["ended_reason"], &call["transfer"]["state"]),
            (&reason.into(), &"completed".into()),
            "{call:#}"
        );
    }
}

/// Row 24 of the reviewer's list: one rule, however the transfer is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_destination_is_forbidden_by_api_by_tool_and_by_refer() {
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let agent = format!("{receptionist}\n[[transfers]]\nname = \"front_desk\"\nto = \"+9001234567\"\n");
    let ours = Sidetone::with(|plan| plan.agent("dear", &agent)).await;
    let mut line = Line::call(ours.sip, &ours.uri("dear")).await;
    let id = id_of(&ours, &line).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    let path = format!("calls/{id}/transfer");
    for body in [json!({"to": "+9001234567"}), json!({"destination": "front_desk"})] {
        assert_eq!(ours.api.refused(Method::POST, &path, &body).await, (403, "forbidden_destination".into()), "{body}");
    }
    let refer = line.within_with("REFER", 2, "Refer-To: <sip:+9001234567@127.0.0.1>\r\n", "");
    let answer = line.sip().ask(&refer).await;
    assert!(answer.starts_with("SIP/2.0 603"), "{answer}");
    let keys = line.within_with("INFO", 3, "Content-Type: application/dtmf-relay\r\n", "Signal=0\r\nDuration=160\r\n");
    let answer = line.sip().ask(&keys).await;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let done = ours.api.told(&id, "call.tool.finished").await;
    assert_eq!((&done["data"]["tool"], &done["data"]["ok"]), (&"transfer".into(), &false.into()), "{done:#}");
    assert!(done["data"]["result_excerpt"].as_str().unwrap().contains("not allowed"), "{done:#}");
    assert_eq!(kinds(&ours.api.events(&id).await), [""; 0]);
    line.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_tells_the_target_first_and_then_joins_the_two() {
    let theirs = Sidetone::start().await;
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let agent = format!(
        "{receptionist}\n[[transfers]]\nname = \"front_desk\"\nto = \"{}\"\nmode = \"warm\"\nbrief = \"text\"\nbrief_text = \"This is a call about opening hours.\"\n",
        theirs.uri("bench")
    );
    let ours = Sidetone::with(|plan| plan.agent("warm", &agent)).await;
    let mut line = Line::call(ours.sip, &ours.uri("warm")).await;
    let id = id_of(&ours, &line).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    let keys = line.within_with("INFO", 3, "Content-Type: application/dtmf-relay\r\n", "Signal=0\r\nDuration=160\r\n");
    assert!(line.sip().ask(&keys).await.starts_with("SIP/2.0 200"));
    let talking = tokio::spawn(async move {
        line.talk(600, Duration::ZERO, |_| QUIET).await;
        line
    });
    ours.api.told(&id, "call.transfer.bridged").await;
    let done = ours.api.told(&id, "call.tool.finished").await;
    assert_eq!((&done["data"]["tool"], &done["data"]["ok"]), (&"transfer".into(), &true.into()), "{done:#}");
    let line = talking.await.unwrap();
    line.hang_up().await;
    let other = only(&theirs).await;
    theirs.api.until(&other, |call| call["recording"]["state"] == "ready").await;
    let heard = theirs.api.recording(&other).await.caller;
    // The caller said nothing: what the target heard is what it was told.
    let brief = voice_ms(&heard);
    assert!((1_000..6_000).contains(&brief), "{brief} ms of a brief");
}
