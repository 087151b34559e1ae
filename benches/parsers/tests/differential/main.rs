//! Our parser beside those of `rsip` and `rsipstack`, on messages made here: what all read they must read alike, and where a peer reads
//! something else it stands in `explained.rs` why. A disagreement that nobody has explained fails, and so does one that is gone.
#![allow(missing_docs)]

mod explained;

use std::collections::{BTreeMap, BTreeSet};

use explained::{EXPLAINED, Verdict};
use parsers::{FIELDS, Lot, Part, Peer, Reading, TWISTS, Twist, message, ours};

const EACH: usize = 300;
const MIXED: usize = 6_000;

type Difference = (Peer, &'static str, Verdict, Verdict);

fn differences(bytes: &[u8]) -> Vec<Difference> {
    let we = ours(bytes);
    let verdict = |reading: &Option<Reading>| if reading.is_some() { Verdict::Reads } else { Verdict::Refuses };
    let mut found = Vec::new();
    for peer in [Peer::Rsip, Peer::Rsipstack] {
        let they = peer.reads(bytes);
        let (Some(we), Some(they)) = (&we, &they) else {
            if we.is_some() != they.is_some() {
                found.push((peer, FIELDS[0], verdict(&we), verdict(&they)));
            }
            continue;
        };
        for ((we, they), field) in we.iter().zip(they).zip(&FIELDS[1..]) {
            if we != they {
                let of = |part: &Option<String>| if part.is_some() { Verdict::Reads } else { Verdict::Lacks };
                let theirs = if we.is_some() && they.is_some() { Verdict::Otherwise } else { of(they) };
                found.push((peer, *field, of(we), theirs));
            }
        }
    }
    found
}

fn corpus() -> Vec<(Vec<Twist>, Vec<u8>)> {
    let mut lot = Lot(1);
    let mut corpus = Vec::new();
    for twist in TWISTS {
        for _ in 0..EACH {
            corpus.push((vec![*twist], message(&mut lot, &[*twist])));
        }
    }
    let mixable: Vec<Twist> = TWISTS.iter().copied().filter(|twist| twist.part() != Part::All).collect();
    for _ in 0..MIXED {
        let parts = (0..2 + lot.below(2)).map(|_| mixable[lot.below(mixable.len())]).map(|twist| (twist.part(), twist));
        let twists: Vec<Twist> = parts.collect::<BTreeMap<_, _>>().into_values().collect();
        let bytes = message(&mut lot, &twists);
        corpus.push((twists, bytes));
    }
    corpus
}

/// What must be refused, or is answered with 400 or 505 for what it is; all else must be read.
const REFUSED: [Twist; 12] = [
    Twist::OtherVersion,
    Twist::BlanksInStart,
    Twist::LargeStatus,
    Twist::LengthTooLong,
    Twist::LengthNegative,
    Twist::LengthNoNumber,
    Twist::LengthTwice,
    Twist::NoColon,
    Twist::BlankInName,
    Twist::CutHead,
    Twist::CutBody,
    Twist::DamagedStart,
];

#[test]
fn only_broken_messages_are_refused() {
    for (twists, bytes) in corpus() {
        let wanted = !twists.iter().any(|twist| REFUSED.contains(twist));
        let exact = twists.iter().all(|twist| !matches!(twist, Twist::CutBody | Twist::DamagedStart));
        let read = ours(&bytes).is_some();
        assert!(read == wanted || !exact && read, "{twists:?}: {}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn peers_read_what_we_read_but_for_what_is_explained() {
    // Peers that break on a message say so each time.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unexplained: BTreeMap<_, (usize, String)> = BTreeMap::new();
    let mut applied = BTreeSet::new();
    for (twists, bytes) in corpus() {
        for (peer, field, we, they) in differences(&bytes) {
            let known = EXPLAINED.iter().enumerate().filter(|(_, row)| {
                (row.1, row.3, row.4) == (peer, we, they) && row.2.contains(&field) && twists.contains(&row.0)
            });
            let known: Vec<usize> = known.map(|(at, _)| at).collect();
            if known.is_empty() {
                let shown = || {
                    let place = FIELDS.iter().position(|name| *name == field).unwrap_or_default();
                    let part = |reading: Option<Reading>| reading.map(|it| it.get(place.wrapping_sub(1)).cloned());
                    let (we, they) = (part(ours(&bytes)), part(peer.reads(&bytes)));
                    format!("{}\nwe:   {we:?}\nthey: {they:?}", String::from_utf8_lossy(&bytes))
                };
                let mixed = twists.len() > 1;
                let key = (mixed, twists.clone(), peer, field, we, they);
                unexplained.entry(key).or_insert_with(|| (0, shown())).0 += 1;
            }
            // With others it may apply for their sake.
            applied.extend(known.into_iter().filter(|_| twists.len() == 1).map(|at| (at, field)));
        }
    }
    _ = std::panic::take_hook();
    let summary = |(key, (count, shown)): (&_, &(usize, String))| format!("{key:?}: {count} times\n{shown}\n\n");
    assert!(
        unexplained.is_empty(),
        "{} kinds of disagreement\n{}",
        unexplained.len(),
        unexplained.iter().map(summary).collect::<String>()
    );
    let rows = EXPLAINED.iter().enumerate().flat_map(|(at, row)| row.2.iter().map(move |field| (at, *field)));
    let gone: Vec<_> = rows.filter(|row| !applied.contains(row)).map(|(at, field)| (field, EXPLAINED[at])).collect();
    assert!(gone.is_empty(), "no longer true: {gone:#?}");
}
