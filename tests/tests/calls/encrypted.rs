//! Who insists on encrypted media, on either side, is refused before anything rings: there is none yet. Who only wishes for it is served.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Sidetone, Sip, free_port, header, request};
use tokio::time::sleep;

const NUMBER: &str = "+12125550142";
const KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n";

fn offer(at: IpAddr, profile: &str, attributes: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\nm=audio 40000 {profile} 0\r\n{attributes}")
}

/// Sends an INVITE and gives its final response; an answered call is hung up.
async fn called(server: &Sidetone, at: IpAddr, profile: &str, attributes: &str) -> String {
    let sip = Sip::between(at, server.sip).await;
    let invite = request("INVITE", &server.uri(NUMBER), sip.at(), &offer(at, profile, attributes));
    let answer = sip.ask(&invite).await;
    let (head, _) = invite.split_once("Content-Type").unwrap();
    let head = head.replace(&format!("To: {}", header(&invite, "To")), &format!("To: {}", header(&answer, "To")));
    let end = "Content-Length: 0\r\n\r\n";
    let ack = head.replace("INVITE", "ACK");
    let ok = answer.starts_with("SIP/2.0 200");
    let ack = if ok { ack.replace("branch=z9hG4bK", "branch=z9hG4bKack") } else { ack };
    sip.send(format!("{ack}{end}").as_bytes()).await;
    if ok {
        let bye = head.replace("INVITE", "BYE").replace("CSeq: 1", "CSeq: 2").replace("z9hG4bK", "z9hG4bKbye");
        sip.ask(&format!("{bye}{end}")).await;
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_as_encrypted_as_both_want_it_or_is_refused() {
    let server = Sidetone::start().await;
    let at = IpAddr::from([127, 0, 6, 1]);
    let gateway = SocketAddr::new(at, free_port());
    let document = json!({"name": "Carrier", "gateways": [{"host": at.to_string(), "port": gateway.port()}],
                          "sip": {"options_ping_s": 0}, "limits": {"max_cps": 50}});
    let trunk = server.api.post("trunks", &document).await["id"].clone();
    server.api.number(NUMBER, &trunk, "Good day.").await;
    let path = format!("trunks/{}", trunk.as_str().unwrap());
    for (wanted, profile, attributes, status) in [
        ("off", "RTP/SAVP", KEY, 488),
        ("off", "RTP/AVP", KEY, 200),
        ("sdes", "RTP/AVP", KEY, 200),
        ("dtls", "UDP/TLS/RTP/SAVPF", "a=setup:actpass\r\n", 488),
        ("require_sdes", "RTP/AVP", "", 488),
        ("require_sdes", "RTP/SAVP", KEY, 488),
        ("require_dtls", "RTP/AVP", "", 488),
    ] {
        let stored = server.api.patch(&path, &json!({"media": {"srtp": wanted}})).await;
        assert_eq!(stored["media"]["srtp"], wanted);
        let answer = called(&server, at, profile, attributes).await;
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{wanted} {profile}: {answer}");
        let code = header(&answer, "Warning").split(' ').next().unwrap_or_default();
        assert_eq!(code, if status == 488 { "302" } else { "" }, "{wanted} {profile}: {answer}");
        assert!(!answer.contains("a=crypto"), "{answer}");
    }
    let refused = |call: &Value| call["ended_reason"] == "codec_mismatch";
    // A call is in the records a moment after its answer.
    let began = Instant::now();
    let calls = loop {
        let calls = server.api.calls().await;
        if calls.len() == 7 && calls.iter().all(|call| call["ended_at"].is_string()) {
            break calls;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{calls:#?}");
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(calls.iter().filter(|call| refused(call)).count(), 5);

    // Nothing leaves for a trunk that takes no plain call.
    let order = json!({"to": "+14155550100", "from": NUMBER, "agent_id": "receptionist", "trunk_id": trunk});
    let placed = server.api.post("calls", &order).await;
    let call = server.api.until(placed["id"].as_str().unwrap(), |call| call["ended_at"].is_string()).await;
    assert_eq!((&call["ended_reason"], &call["sip_status"]), (&json!("codec_mismatch"), &json!(488)), "{call:#}");
}
