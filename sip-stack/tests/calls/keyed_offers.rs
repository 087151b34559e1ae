//! Whatever is offered, an answer is part of it, and both sides come to the same plan; lines of keys are read as they were printed.

use proptest::prelude::*;
use sip_stack::Sdp;
use sip_stack::offer::{self, Ability, Codec, Keying, Keys, Srtp};
use sip_stack::sdp::crypto::{Crypto, Master, Mki, Secret, Suite};
use sip_stack::sdp::dtls::{Fingerprint, Hash};

use crate::world::ability;

fn suite() -> impl Strategy<Value = Suite> {
    proptest::sample::select(Suite::ALL.to_vec())
}

fn master(suite: Suite, mki: Option<(u64, u8)>) -> impl Strategy<Value = Master> {
    let (key, salt) = suite.lengths();
    let lifetime = proptest::option::of(prop_oneof![(0_u32..=48).prop_map(|power| 1 << power), 1_u64..=1 << 48]);
    (proptest::collection::vec(any::<u8>(), key + salt), lifetime).prop_map(move |(bytes, lifetime)| Master {
        secret: Secret::new(bytes),
        lifetime,
        mki: mki.map(|(value, length)| Mki { value, length }),
    })
}

fn crypto() -> impl Strategy<Value = Crypto> {
    let one = |suite| {
        let named = proptest::option::of((0_u64..=255, 1_u8..=128));
        named.prop_flat_map(move |name| master(suite, name).prop_map(|key| vec![key]))
    };
    let some = |suite| {
        (2_u64..=8, 1_u8..=128).prop_flat_map(move |(count, length)| {
            (0..count).map(|value| master(suite, Some((value, length)))).collect::<Vec<_>>()
        })
    };
    let params = proptest::collection::vec("(-[A-Z]{1,8}|KDR=[0-9]|WSH=[0-9]{2}|UNENCRYPTED_SRTP)", 0..3);
    (0_u32..1_000_000_000, suite(), params).prop_flat_map(move |(tag, suite, params)| {
        prop_oneof![one(suite).boxed(), some(suite).boxed()].prop_map(move |keys| Crypto {
            tag,
            suite,
            keys,
            params: params.clone(),
        })
    })
}

/// What a side wants and can.
fn side(port: u16) -> impl Strategy<Value = Ability> {
    let wanted = [Srtp::Off, Srtp::Sdes, Srtp::Dtls, Srtp::RequireSdes, Srtp::RequireDtls];
    let codecs = vec![Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];
    (
        proptest::sample::select(wanted.to_vec()),
        proptest::sample::subsequence(Suite::ALL.to_vec(), 0..=5).prop_shuffle(),
        any::<bool>(),
        proptest::sample::subsequence(codecs, 1..=4).prop_shuffle(),
        any::<bool>(),
        any::<u8>(),
    )
        .prop_map(move |(wanted, suites, dtls, codecs, telephone_event, fill)| {
            let line = |(tag, suite): (u32, Suite)| {
                let (key, salt) = suite.lengths();
                Crypto::new(tag, suite, Secret::new(vec![fill; key + salt]))
            };
            let keying = Keying {
                wanted,
                sdes: (1..).zip(suites).map(line).collect(),
                dtls: dtls.then(|| Fingerprint { hash: Hash::Sha384, digest: vec![fill; 48] }).into_iter().collect(),
            };
            Ability { codecs, telephone_event, keying, ..ability(port) }
        })
}

fn parsed(text: &str) -> Sdp {
    Sdp::parse(text.as_bytes()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_line_of_keys_is_read_as_it_was_printed(line in crypto()) {
        prop_assert_eq!(Crypto::parse(&line.to_string()), Some(line));
    }

    #[test]
    fn no_line_of_keys_panics(text in "[ -~]{0,120}", tail in "[0-9^|:;=a-zA-Z+/ ]{0,80}") {
        let _ = (Crypto::parse(&text), Fingerprint::parse(&text), Fingerprint::parse(&format!("sha-256 {tail}")));
        let _ = Crypto::parse(&format!("1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw=={tail}"));
    }

    #[test]
    fn an_answer_is_part_of_its_offer_and_both_plans_agree(ours in side(4000), theirs in side(5000)) {
        let Ok(text) = offer::offer(&ours) else {
            prop_assert!(ours.keying.wanted.is_required());
            return Ok(());
        };
        let offered = parsed(&text);
        let Ok((text, plan)) = offer::answer(&offered, &theirs) else { return Ok(()) };
        let answered = parsed(&text);
        let (of, an) = (&offered.media[0], &answered.media[0]);
        prop_assert_eq!(&of.protocol, &an.protocol);
        prop_assert!(an.formats.iter().all(|format| of.formats.contains(format)));
        prop_assert!(an.crypto.len() <= 1 && (an.crypto.is_empty() || an.dtls.fingerprints.is_empty()));
        for line in &an.crypto {
            prop_assert!(of.crypto.iter().any(|offered| (offered.tag, offered.suite) == (line.tag, line.suite)));
        }
        let back = offer::accept(&ours, &answered);
        prop_assert!(back.is_ok(), "{:?} to {}", back, text);
        let back = back.unwrap();
        prop_assert_eq!((back.codec, back.payload_type, back.events), (plan.codec, plan.payload_type, plan.events));
        prop_assert_eq!(back.profile, plan.profile);
        match (back.keys, plan.keys) {
            (Keys::Plain, Keys::Plain) => {
                prop_assert!(!ours.keying.wanted.is_required() && !theirs.keying.wanted.is_required());
            }
            (Keys::Sdes { local, remote }, Keys::Sdes { local: there, remote: here }) => {
                prop_assert_eq!((local, remote), (here, there));
            }
            (Keys::Dtls { active, fingerprints }, Keys::Dtls { active: other, fingerprints: shown }) => {
                prop_assert!(active != other);
                prop_assert_eq!((fingerprints, shown), (theirs.keying.dtls, ours.keying.dtls));
            }
            (here, there) => prop_assert!(false, "{:?} here and {:?} there", here, there),
        }
    }
}
