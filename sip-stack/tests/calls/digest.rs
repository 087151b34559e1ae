//! Challenges: which are answered, how often, and how a caller of ours is let in (FAULTS 5 and 6).

use std::net::IpAddr;
use std::time::Duration;

use sip_stack::auth::{Denied, Secret};
use sip_stack::{Algorithm, Authenticator, Authorization, Cause, Credentials, Event, Refusal, Transport};

use crate::world::{A, ANSWER, B, Bench, OFFER, flow, header, invite, lines, ms, outgoing, request, response, to_tag};

const ALICE: &str = "alice";

fn credentials() -> Credentials {
    Credentials {
        realm: Some("carrier".into()),
        username: ALICE.into(),
        password: "secret".into(),
        servers: Vec::new(),
        algorithms: Vec::new(),
    }
}

#[test]
fn without_a_realm_the_servers_say_which_and_only_the_sums_that_may_be_made_are() {
    let wish = |algorithms| {
        let mut outgoing = outgoing(flow(B, A, Transport::Udp));
        outgoing.credentials = Some(Credentials { realm: None, algorithms, ..credentials() });
        let mut bench = Bench::new();
        bench.endpoint.invite(bench.now, outgoing);
        let first = bench.sent().pop().unwrap();
        bench.receive(challenge(&first, "407 Proxy Authentication Required", "Proxy-Authenticate", MD5)).pop().unwrap()
    };
    assert_eq!(authorization(&wish(Vec::new()), "Proxy-Authorization").realm, "carrier");
    assert!(wish(vec![Algorithm::Md5]).starts_with("INVITE "));
    assert!(wish(vec![Algorithm::Sha256]).starts_with("ACK "), "a sum that is too weak is not made");
}

fn dial(bench: &mut Bench) -> (sip_stack::CallHandle, String) {
    let mut outgoing = outgoing(flow(B, A, Transport::Udp));
    outgoing.credentials = Some(credentials());
    let call = bench.endpoint.invite(bench.now, outgoing);
    (call, bench.sent().pop().unwrap())
}

fn challenge(request: &str, status: &str, header: &str, value: &str) -> String {
    response(request, status, "c", "").replace("Contact:", &format!("{header}: {value}\r\nContact:"))
}

const MD5: &str = "Digest realm=\"carrier\", nonce=\"n1\", qop=\"auth\"";
const SHA: &str = "Digest realm=\"carrier\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\", opaque=\"o\"";

fn authorization(text: &str, name: &str) -> Authorization {
    Authorization::parse(header(text, name).unwrap()).unwrap()
}

#[test]
fn a_challenged_invite_is_sent_again_with_credentials() {
    let mut bench = Bench::new();
    let (_, first) = dial(&mut bench);
    let sent = bench.receive(challenge(&first, "407 Proxy Authentication Required", "Proxy-Authenticate", MD5));
    assert!(sent[0].starts_with("ACK "));
    let again = &sent[1];
    assert_eq!(header(again, "CSeq"), Some("2 INVITE"));
    assert_eq!(header(again, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(header(again, "From"), header(&first, "From"));
    assert_ne!(header(again, "Via"), header(&first, "Via"));
    assert!(again.contains("m=audio 4000"));
    let answer = authorization(again, "Proxy-Authorization");
    assert_eq!((answer.username.as_str(), answer.uri.as_str()), (ALICE, "sip:demo@192.0.2.1:5060"));
    assert_eq!(answer.count.unwrap().1, 1);
    // The ACK of the 200 carries the same credentials; the BYE counts on.
    let ack = bench.receive(response(again, "200 OK", "c", ANSWER));
    assert_eq!(header(&ack[0], "Proxy-Authorization"), header(again, "Proxy-Authorization"));
    assert_eq!(header(&ack[0], "CSeq"), Some("2 ACK"));
    let [Event::Answered { call, .. }] = bench.events()[..] else { panic!() };
    bench.endpoint.end(bench.now, call);
    let bye = bench.sent().pop().unwrap();
    assert_eq!(authorization(&bye, "Proxy-Authorization").count.unwrap().1, 2);
    assert_eq!(header(&bye, "CSeq"), Some("3 BYE"));
}

#[test]
fn of_several_challenges_the_strongest_is_answered() {
    let mut bench = Bench::new();
    let (_, first) = dial(&mut bench);
    let both = format!("{MD5}\r\nWWW-Authenticate: {SHA}\r\nWWW-Authenticate: Basic realm=\"carrier\"");
    let sent = bench.receive(challenge(&first, "401 Unauthorized", "WWW-Authenticate", &both));
    let answer = authorization(&sent[1], "Authorization");
    assert_eq!((answer.nonce.as_str(), answer.opaque.as_deref()), ("n2", Some("o")));
}

#[test]
fn a_second_refusal_of_the_same_password_is_final_and_a_stale_nonce_is_not() {
    let mut bench = Bench::new();
    let (_, first) = dial(&mut bench);
    let sent = bench.receive(challenge(&first, "401 Unauthorized", "WWW-Authenticate", MD5));
    let sent = bench.receive(challenge(&sent[1], "401 Unauthorized", "WWW-Authenticate", MD5));
    assert_eq!(sent.len(), 1, "only an ACK");
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Rejected(401), .. }]));

    let (_, first) = dial(&mut bench);
    let stale = format!("{SHA}, stale=true");
    let mut last = first;
    for _ in 0..2 {
        let sent = bench.receive(challenge(&last, "401 Unauthorized", "WWW-Authenticate", &stale));
        last = sent[1].clone();
    }
    assert_eq!(bench.receive(challenge(&last, "401 Unauthorized", "WWW-Authenticate", &stale)).len(), 1, "no loop");
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn strangers_who_challenge_learn_nothing() {
    // Another realm.
    let mut bench = Bench::new();
    let (_, first) = dial(&mut bench);
    let other = MD5.replace("carrier", "asterisk");
    assert_eq!(bench.receive(challenge(&first, "401 Unauthorized", "WWW-Authenticate", &other)).len(), 1);
    // The right realm from an address that is not the trunk's.
    let mut bench = Bench::new();
    let (_, first) = dial(&mut bench);
    let elsewhere = flow(B, "203.0.113.9:5060", Transport::Udp);
    let text = challenge(&first, "401 Unauthorized", "WWW-Authenticate", MD5);
    bench.endpoint.handle_receive(bench.now, elsewhere, text.as_bytes());
    assert_eq!(bench.sent().len(), 1);
    // A caller who challenges our BYE: his call never had credentials.
    let mut bench = Bench::new();
    let (call, _) = bench.established();
    bench.endpoint.end(bench.now, call);
    let bye = bench.sent().pop().unwrap();
    assert!(bench.receive(challenge(&bye, "401 Unauthorized", "WWW-Authenticate", MD5)).is_empty());
    bench.pass(ms(40_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_challenged_bye_and_a_challenged_change_are_sent_again() {
    let mut bench = Bench::new();
    let (_, first) = dial(&mut bench);
    bench.receive(response(&first, "200 OK", "c", ANSWER));
    let [Event::Answered { call, .. }] = bench.events()[..] else { panic!() };
    bench.endpoint.reinvite(bench.now, call, OFFER.into()).unwrap();
    let change = bench.sent().pop().unwrap();
    let sent = bench.receive(challenge(&change, "407 Proxy", "Proxy-Authenticate", MD5));
    assert_eq!((header(&sent[0], "CSeq"), header(&sent[1], "CSeq")), (Some("2 ACK"), Some("3 INVITE")));
    assert!(header(&sent[1], "Proxy-Authorization").is_some());
    bench.receive(response(&sent[1], "200 OK", "", ANSWER));
    assert!(matches!(bench.events()[..], [Event::Changed { .. }]));
    bench.endpoint.end(bench.now, call);
    let bye = bench.sent().pop().unwrap();
    let sent = bench.receive(challenge(&bye, "407 Proxy", "Proxy-Authenticate", &format!("{SHA}, stale=true")));
    assert_eq!(header(&sent[0], "CSeq"), Some("5 BYE"));
    bench.receive(response(&sent[0], "200 OK", "", ""));
    bench.pass(ms(40_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_caller_is_challenged_let_in_and_not_let_in_again_with_the_same_count() {
    let mut bench = Bench::new();
    let mut door = Authenticator::new(bench.now, [3; 32], Duration::from_secs(60));
    let source: IpAddr = bench.flow.remote.ip();
    let call = bench.call();
    let challenges = door.challenge(bench.now, "carrier", source, false);
    bench.endpoint.reject(bench.now, call, Refusal::unauthorized(challenges.clone()));
    let refused = bench.sent().pop().unwrap();
    assert_eq!(lines(std::slice::from_ref(&refused)), ["401 Unauthorized"]);
    assert_eq!(refused.lines().filter(|line| line.starts_with("WWW-Authenticate: Digest")).count(), 3);
    bench.receive(
        request("ACK", "1", "", "").replace("192.0.2.2>\r", &format!("192.0.2.2>;tag={}\r", to_tag(&refused))),
    );
    bench.events();

    let mut answer = Authorization {
        username: ALICE.into(),
        realm: "carrier".into(),
        nonce: challenges[1].nonce.clone(),
        uri: "sip:demo@192.0.2.2".into(),
        response: String::new(),
        algorithm: challenges[1].algorithm,
        count: Some(("x".into(), 1)),
        opaque: None,
    };
    answer.response = {
        // As any client would: by the one sum that the stack has.
        let ha1 = answer.algorithm.ha1(ALICE, "carrier", "secret");
        answer.expected(&ha1, "INVITE")
    };
    let again = invite("2", OFFER)
        .replace("CSeq: 1", "CSeq: 2")
        .replace("Contact:", &format!("Authorization: {answer}\r\nContact:"));
    bench.receive(&again);
    let events = bench.events();
    let [Event::Incoming { invite, .. }] = &events[..] else { panic!("{events:?}") };
    let read = Authorization::of(&invite.headers, "carrier").unwrap();
    assert_eq!(read, answer);
    let mut verify = |secret| door.verify(bench.now, source, "INVITE", &read, Secret::Password(secret));
    assert_eq!(verify("guess"), Err(Denied::Wrong));
    assert_eq!(verify("secret"), Ok(()));
    assert_eq!(verify("secret"), Err(Denied::Replayed));
    assert_eq!(Authorization::of(&invite.headers, "another realm"), None);
}
