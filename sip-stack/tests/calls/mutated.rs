//! Broken bytes: whatever arrives, nothing panics and nothing is kept for ever.

use proptest::prelude::*;
use sip_stack::stream::Framer;
use sip_stack::{Event, Message, Refusal, Sdp, Transport, Uri, offer};

use crate::world::{A, ANSWER, B, Bench, Dice, OFFER, ability, flow, header, inside, ms, outgoing, request};

/// Flips, cuts, doubles and swaps pieces of a message.
fn mutate(text: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..=dice.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(6) {
            0 => bytes[at] = dice.roll() as u8,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, b" \t\r\n;,<>\"\\:=%\0\xff"[dice.below(15) as usize]),
            3 => drop(bytes.remove(at)),
            4 => {
                let end = at + dice.below((bytes.len() - at) as u64 + 1) as usize;
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let line = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |feed| at + feed + 1);
                bytes.drain(at..line);
            }
        }
    }
    bytes
}

/// Looks at everything a message has, so that no view can hide a panic.
fn look(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let _ = (message.from_tag(), message.to_tag(), message.contact(), message.cseq(), message.content_type());
    for (name, _, value) in message.lines() {
        let _ = (message.number(name), message.text(name), sip_stack::NameAddr::parse(value), Uri::parse(value));
    }
    if let Some(via) = message.top_via() {
        let _ = (via.branch(), via.host_ip(), via.params.is_sound());
    }
    if let Ok(uri) = Uri::parse(message.request_uri()) {
        let _ = (uri.user_decoded(), uri.host_ip(), uri.param("lr"));
    }
    if let Ok(sdp) = Sdp::parse(message.body()) {
        let _ = (offer::answer(&sdp, &ability(5000)), offer::accept(&ability(5000), &sdp));
    }
}

#[test]
fn an_endpoint_in_mid_call_survives_mutated_messages_and_forgets_them() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut bench = Bench::new();
        let (_, tag) = bench.established();
        bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
        let invite = bench.sent().pop().unwrap();
        let answer = format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: <sip:x@y>;tag=q\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@192.0.2.1>\r\nContent-Type: application/sdp\r\n\r\n{ANSWER}",
            header(&invite, "Via").unwrap(),
            header(&invite, "From").unwrap(),
            header(&invite, "Call-ID").unwrap()
        );
        let texts = [
            request("INVITE", "x", "", OFFER).replace("call@", "new@"),
            request("CANCEL", "x", "", "").replace("call@", "new@"),
            inside("INVITE", 2, &tag, "re", OFFER),
            inside("INFO", 3, &tag, "info", "Signal=5\r\n").replace("application/sdp", "application/dtmf-relay"),
            inside("ACK", 2, &tag, "ack", ""),
            inside("BYE", 9, &tag, "bye", ""),
            answer,
        ];
        for _ in 0..30 {
            let text = &texts[dice.below(texts.len() as u64) as usize];
            let bytes = mutate(text.as_bytes(), &mut dice);
            look(&bytes);
            bench.receive(&bytes);
            bench.pass(ms(dice.below(500)));
            for event in bench.events() {
                match event {
                    Event::Incoming { call, .. } | Event::Reinvite { call, .. } if dice.chance(50) => {
                        let _ = bench.endpoint.answer(bench.now, call, ANSWER.into());
                    }
                    Event::Incoming { call, .. } | Event::Reinvite { call, .. } => {
                        bench.endpoint.reject(bench.now, call, Refusal::new(488));
                    }
                    _ => {}
                }
            }
        }
        // Whatever is still open is ended by its user; then all timers run out.
        bench.endpoint.drain(true);
        for number in 0..200 {
            bench.endpoint.end(bench.now, sip_stack::CallHandle::from_number(number));
        }
        bench.pass(ms(200_000));
        assert_eq!(bench.endpoint.residue(), 0, "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        look(&bytes);
        let mut framer = Framer::new();
        framer.push(&bytes);
        while let Ok(Some(_)) = framer.next() {}
        let _ = Sdp::parse(&bytes);
        Bench::new().receive(&bytes);
    }

    #[test]
    fn any_text_of_the_grammars_own_characters_is_harmless(text in "[a-zA-Z0-9:;,<>@\"\\\\ \t\r\n=/.%\\[\\]?-]{0,300}") {
        let bytes = format!("INVITE {text}\r\nVia: {text}\r\nTo: {text}\r\nContact: {text}\r\n\r\n{text}").into_bytes();
        look(&bytes);
        look(text.as_bytes());
        let _ = (Uri::parse(text.as_bytes()), sip_stack::NameAddr::parse(text.as_bytes()), Sdp::parse(text.as_bytes()));
        let sdp = format!("v=0\r\nc={text}\r\nm=audio {text}\r\na=rtpmap:{text}\r\nm=audio 1 RTP/AVP {text}\r\na=rtcp:{text}\r\n");
        if let Ok(sdp) = Sdp::parse(sdp.as_bytes()) {
            let _ = offer::answer(&sdp, &ability(5000));
        }
    }
}
