//! What was said on the wire in a call.

use control_api::{Entry, SipMessage, SipTrace};
use domain::{Direction, EndedReason};
use serde_json::json;

use crate::{
    db::on_both,
    fake::{Client, call_id, conversation, ended, new_call},
    invariants,
};

fn message(at_us: i64, outgoing: bool, text: &str) -> SipMessage {
    let (local, peer) = ("192.0.2.2:5060".parse().unwrap(), "192.0.2.1:5070".parse().unwrap());
    SipMessage { at_us, outgoing, transport: "UDP".into(), local, peer, text: text.into() }
}

on_both! {
    async fn a_call_shows_what_was_said_as_json_as_a_ladder_and_as_a_capture(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        let path = format!("/api/v1/calls/{call}/trace");
        let messages = vec![message(1_000_000_123, false, "INVITE sip:demo@host SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n"), message(1_000_004_000, true, "SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n")];
        db.journal.write(call, Entry::Trace(Box::new(SipTrace { sip_call_id: "a".into(), dropped: 0, messages })));
        // Another dialog of the same call, as a second gateway makes it.
        let other = vec![message(999_000_000, true, "INVITE sip:first@gw SIP/2.0\r\n\r\n")];
        db.journal.write(call, Entry::Trace(Box::new(SipTrace { sip_call_id: "b".into(), dropped: 0, messages: other })));
        db.journal.flush().await;
        let shown = client.get(&path).await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        let shown = shown.json();
        assert_eq!(shown["complete"], true);
        let told: Vec<_> = shown["messages"].as_array().unwrap().iter().map(|message| json!([message["direction"], message["summary"], message["sip_call_id"]])).collect();
        assert_eq!(told, [json!(["out", "INVITE sip:first@gw", "b"]), json!(["in", "INVITE sip:demo@host", "a"]), json!(["out", "200 OK (INVITE)", "a"])]);
        assert_eq!(shown["messages"][1]["at"], "1970-01-01T00:16:40.000123Z");
        let ladder = client.get(&format!("{path}?format=text")).await;
        assert!(ladder.header("content-type").starts_with("text/plain") && ladder.text().contains("◀──  INVITE sip:demo@host"), "{}", ladder.text());
        let capture = client.get(&format!("{path}?format=pcap")).await;
        assert_eq!((&capture.bytes[..4], capture.header("content-type")), (&[0xd4, 0xc3, 0xb2, 0xa1][..], "application/vnd.tcpdump.pcap"));
        assert_eq!(client.get(&format!("{path}?format=xml")).await.error(), (400, "validation_failed".into(), Some("format".into())));
        assert_eq!(client.get(&format!("/api/v1/calls/{}/trace", call_id())).await.error().0, 404);
        invariants::hold(&db).await;
    }

    async fn a_trace_that_is_not_there_says_why(db) {
        let client = Client::new(&db);
        let (live, long_ago) = (call_id(), conversation(&db.journal, db.tenant, 1_000_000));
        let now = control_api::now_ms();
        db.journal.write(live, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, now))));
        db.journal.flush().await;
        let path = |call| format!("/api/v1/calls/{call}/trace");
        assert_eq!(client.get(&path(live)).await.status, 202);
        assert_eq!(client.get(&path(long_ago)).await.error(), (410, "gone".into(), None));
        db.journal.write(live, ended(EndedReason::Canceled, now));
        db.journal.flush().await;
        db.run("UPDATE calls SET ended_at = ended_at - 60000 WHERE ended_reason = 'canceled'").await;
        assert_eq!(client.get(&path(live)).await.error().0, 404);
        // How long a trace should be there is the tenant's word.
        db.run("UPDATE calls SET ended_at = ended_at - 864000000 WHERE ended_reason = 'canceled'").await;
        assert_eq!(client.get(&path(live)).await.error().0, 410);
        db.run(r#"UPDATE tenants SET settings = '{"retention":{"trace_days":30}}'"#).await;
        assert_eq!(client.get(&path(live)).await.error().0, 404);
    }
}
