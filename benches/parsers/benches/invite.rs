//! What one INVITE of a carrier costs each parser, in one run: rounds of all take turns, so that what the machine does meanwhile hits
//! all alike; the medians of the rounds are printed, and their ratios to ours.

use std::hint::black_box;
use std::time::Instant;

use parsers::{Peer, ours};
use sip_stack::Message;

/// As a carrier's session border controller sends it; the same message as in `benches/sip.rs`.
const INVITE: &str = include_str!("invite.sip");

const ROUNDS: usize = 101;
const EACH: u32 = 2_000;

fn main() {
    let text = INVITE.replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let bytes = text.as_bytes();
    assert!(ours(bytes).is_some() && ours(bytes) == Peer::Rsipstack.reads(bytes), "the parsers read two messages");

    type Run<'a> = (&'static str, Box<dyn Fn() -> bool + 'a>);
    let runs: [Run<'_>; 6] = [
        ("parse, ours", Box::new(|| Message::parse(black_box(bytes)).is_ok())),
        ("parse, rsipstack", Box::new(|| rsipstack::sip::SipMessage::try_from(black_box(bytes)).is_ok())),
        ("parse, rsip", Box::new(|| rsip::SipMessage::try_from(black_box(bytes)).is_ok())),
        ("parse and read what a call needs, ours", Box::new(|| ours(black_box(bytes)).is_some())),
        ("parse and read what a call needs, rsipstack", Box::new(|| Peer::Rsipstack.reads(black_box(bytes)).is_some())),
        ("parse and read what a call needs, rsip", Box::new(|| Peer::Rsip.reads(black_box(bytes)).is_some())),
    ];
    let mut times = vec![Vec::with_capacity(ROUNDS); runs.len()];
    for _ in 0..ROUNDS {
        for ((_, run), times) in runs.iter().zip(&mut times) {
            let began = Instant::now();
            for _ in 0..EACH {
                assert!(run(), "an INVITE was refused");
            }
            times.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(EACH));
        }
    }
    let medians: Vec<f64> = times
        .iter_mut()
        .map(|times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        })
        .collect();
    for (at, ((name, _), median)) in runs.iter().zip(&medians).enumerate() {
        println!("{name}: {median:.2} µs, {:.1} times ours", median / medians[at / 3 * 3]);
    }
}
