//! Who is no trunk is asked for a password, let in with it, and shut out when he only tries names; nobody else notices.

use std::time::Duration;

use serde_json::json;
use tests::{Sidetone, Sip, Sipp, elsewhere, request};

const NUMBER: &str = "+12125550123";
const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// A server that is heard on an address which it does not trust, and knows a trunk with a password and its number.
async fn server() -> (Sidetone, std::net::SocketAddr, String) {
    let address = elsewhere();
    let server =
        Sidetone::with(|plan| plan.heard_at(address).set("SIP__DIGEST_ALGORITHMS", "[\"MD5\", \"SHA-256\"]")).await;
    let at = std::net::SocketAddr::new(address, server.sip.port());
    let inbound = json!({"mode": "digest", "username": "them", "password": "their-secret"});
    let trunk = server.api.post("trunks", &json!({"name": "Exchange", "auth": {"inbound": inbound}})).await;
    server.api.number(NUMBER, &trunk["id"], "Good day.").await;
    let id = trunk["id"].as_str().unwrap_or_default().to_owned();
    (server, at, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_with_a_password_is_let_in_with_it() {
    let (server, at, trunk) = server().await;
    Sipp::between(&server, at, at.ip(), "digest.xml", NUMBER).calls(3).run().await;
    let calls = server.api.calls().await;
    assert_eq!(calls.len(), 3, "{calls:#?}");
    for call in calls {
        let call = server.api.until(call["id"].as_str().unwrap(), |call| call["ended_at"].is_string()).await;
        let told = (&call["trunk_id"], &call["from"]["address"], &call["ended_reason"]);
        assert_eq!(told, (&json!(trunk), &json!("+14155550177"), &json!("caller_hung_up")), "{call:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tries_names_is_answered_alike_then_not_at_all() {
    let (server, at, _) = server().await;
    let stranger = Sip::between(at.ip(), at).await;
    let mut answers = Vec::new();
    for n in 0..80 {
        let to = if n % 2 == 0 { format!("sip:{NUMBER}@{at}") } else { format!("sip:10{n}@{at}") };
        let invite = request("INVITE", &to, stranger.at(), OFFER);
        stranger.send(invite.as_bytes()).await;
        while let Some(answer) = stranger.next(Duration::from_millis(60)).await {
            assert!(answer.len() * 2 <= invite.len() * 3, "{answer}");
            answers.push(answer.lines().next().unwrap_or_default().to_owned());
        }
    }
    assert!(answers.iter().all(|answer| answer == "SIP/2.0 401 Unauthorized"), "{answers:?}");
    assert!((15..=30).contains(&answers.len()), "{} answers", answers.len());
    assert!(server.log().contains("source shut out"), "{}", server.log());
    assert!(server.api.calls().await.is_empty(), "strangers leave no rows");
    // Who is trusted is served all the time, from the same machine.
    let friend = Sip::towards(server.sip).await;
    let answer = friend.ask(&request("OPTIONS", &server.uri("demo"), friend.at(), "")).await;
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_to_be_somewhere_else_stays_a_stranger() {
    let (server, at, _) = server().await;
    let stranger = Sip::between(at.ip(), at).await;
    // What would be let in if any of it counted: the loopback is trusted.
    for claim in [
        "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n",
        "Record-Route: <sip:127.0.0.1;lr>\r\nP-Asserted-Identity: <sip:+14155550177@127.0.0.1>\r\n",
        "P-Charging-Vector: icid-value=1;icid-generated-at=127.0.0.1\r\nHistory-Info: <sip:127.0.0.1>;index=1\r\n",
    ] {
        let ours = stranger.at().to_string();
        let invite = request("INVITE", &format!("sip:demo@{at}"), stranger.at(), OFFER)
            .replacen("Max-Forwards", &format!("{claim}Max-Forwards"), 1)
            // rport brings the answer here all the same.
            .replace(&format!("UDP {ours}"), "UDP 127.0.0.1:5060;rport;received=127.0.0.1")
            .replace(&format!("hand@{ours}"), "hand@127.0.0.1:5060");
        let answer = stranger.ask(&invite).await;
        assert!(answer.starts_with("SIP/2.0 401 "), "{answer}");
    }
    assert!(server.api.calls().await.is_empty());
}
