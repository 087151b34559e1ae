//! A trunk at Kamailio, which registers it, asks it for its password and stays in the way of its calls: they go out and come in.

use std::time::Duration;

use serde_json::{Value, json};
use tests::kamailio::{Kamailio, NUMBER, PASSWORD, REALM, USER};
use tests::sound::voice_ms;
use tests::{Phone, Sidetone, workspace};

/// What callers of the number hear.
const MESSAGE: &str = "You have reached the number of the test.";

/// The status of a trunk, once `done` says that it is as the test wants it.
async fn until(server: &Sidetone, trunk: &str, done: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let status = server.api.get(&format!("trunks/{trunk}/status")).await;
        if done(&status) {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the trunk stays as it is: {status:#}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The lines of a call's trace, once it is stored.
async fn trace(server: &Sidetone, call: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |message: &Value| format!("{} {}", text(&message["direction"]), text(&message["summary"]));
    server.api.trace(call).await.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registered_trunk_places_and_receives_calls() {
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let announcer = receptionist.replace("interruptible = true", "interruptible = false");
    let mut carrier = Kamailio::place();
    let ours = Sidetone::with(|plan| plan.agent("announcer", &announcer)).await;
    let outside = Sidetone::start().await;
    carrier.start(ours.sip, &outside.uri("echo")).await;

    let trunk = ours
        .api
        .post(
            "trunks",
            &json!({
                "name": "Carrier",
                "gateways": [{"host": "127.0.0.1", "port": carrier.sip.port()}],
                "auth": {"outbound": {"username": USER, "password": PASSWORD, "realm": REALM}},
                "register": {"enabled": true, "registrar": format!("sip:{}", carrier.sip), "aor": format!("sip:{USER}@{REALM}"), "expires_s": 300},
                "identity": {"from_domain": REALM},
                "sip": {"options_ping_s": 10, "headers_out": {"X-Tenant": "{{tenant_name}}"}},
            }),
        )
        .await;
    let trunk = trunk["id"].as_str().unwrap().to_owned();
    let status = until(&ours, &trunk, |status| {
        status["state"] == "up" && status["gateways"].as_array().is_some_and(|gates| gates.len() == 2)
    })
    .await;
    assert_eq!(status["gateways"][1]["host"], "registrar", "{status:#}");
    assert!(
        status["gateways"][1]["registered_until"].is_string() && status["gateways"][0]["rtt_ms"].is_number(),
        "{status:#}"
    );
    ours.api.number(NUMBER, &json!(trunk), MESSAGE).await;

    // Out: challenged, answered, and every later request goes by the proxy, which stays in the way.
    let placed = ours.api.post("calls", &json!({"to": "+14155550100", "from": NUMBER, "agent_id": "announcer"})).await;
    let id = placed["id"].as_str().unwrap();
    ours.api.until(id, |call| call["status"] == "in_progress").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ours.api.post(&format!("calls/{id}/end"), &json!({})).await;
    let call = ours.api.until(id, |call| call["ended_at"].is_string() && call["recording"]["state"] == "ready").await;
    assert_eq!((&call["ended_reason"], &call["trunk_id"]), (&json!("api_ended"), &json!(trunk)), "{call:#}");
    let recording = ours.api.recording(id).await;
    assert!(voice_ms(&recording.caller) > 500, "the echo comes back through the carrier");
    let lines = trace(&ours, id).await;
    let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("out INVITE"), count("in 407"), count("in 200 OK (INVITE)")), (2, 1, 1), "{lines:#?}");
    assert!(count("out BYE") == 1 && count("in 200 OK (BYE)") == 1, "{lines:#?}");
    let shown = ours.api.fetch(&format!("calls/{id}/trace")).await.to_string();
    assert!(
        shown.contains("X-Tenant: Default")
            && shown.contains("Route: <sip:127.0.0.1")
            && shown.contains(&format!("<sip:{NUMBER}@{REALM}>")),
        "{shown}"
    );
    let there = outside.api.calls().await.remove(0);
    assert_eq!(
        outside.api.until(there["id"].as_str().unwrap(), |call| call["ended_at"].is_string()).await["ended_reason"],
        "caller_hung_up"
    );

    // In: the registrar sends the call to our contact, and the number that was called stands in To.
    let heard =
        Phone::to(&ours, &format!("sip:{NUMBER}@{}", carrier.sip), "+14155550177").with("--linger", "2").call().await;
    let call = ours
        .api
        .calls()
        .await
        .into_iter()
        .find(|call| call["direction"] == "inbound")
        .unwrap_or_else(|| panic!("no call came in:\n{}\n{}", carrier.log(), ours.log()));
    let id = call["id"].as_str().unwrap();
    let call = ours.api.until(id, |call| call["ended_at"].is_string()).await;
    assert_eq!(
        (&call["to"]["address"], &call["from"]["address"], &call["trunk_id"]),
        (&json!(NUMBER), &json!("+14155550177"), &json!(trunk)),
        "{call:#}"
    );
    assert!(voice_ms(&heard.sound.agent) > 1_000, "the message is heard: {:#}", heard.report);
    assert_eq!(ours.api.transcript(id).await[0]["text"], MESSAGE);
    let lines = trace(&ours, id).await;
    assert!(
        lines[0].starts_with("in INVITE sip:t") && lines.iter().any(|line| line == "out 200 OK (INVITE)"),
        "{lines:#?}"
    );

    // Taken out of service it lets go of the registrar, and nobody finds it there any more.
    ours.api.patch(&format!("trunks/{trunk}"), &json!({"enabled": false})).await;
    let began = std::time::Instant::now();
    loop {
        let sip = tests::Sip::towards(carrier.sip).await;
        let answer = sip.ask(&tests::request("INVITE", &format!("sip:{NUMBER}@{}", carrier.sip), sip.at(), "")).await;
        if answer.starts_with("SIP/2.0 480 ") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
