//! Keys in offers and answers, as literal lines: what is offered, what is wanted, what the media can do, and what comes of it.

use sip_stack::offer::{self, Ability, Codec, Events, Keying, Keys, Profile, Srtp};
use sip_stack::sdp::crypto::{Crypto, Secret, Suite};
use sip_stack::sdp::dtls::{Fingerprint, Hash};
use sip_stack::{Refusal, Sdp};

use crate::world::ability;

const SHA1_80: &str = "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^20|1:4";
const GCM: &str = "a=crypto:4 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
const PRINT: &str = "a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";

fn secret(suite: Suite, fill: u8) -> Secret {
    let (key, salt) = suite.lengths();
    Secret::new(vec![fill; key + salt])
}

/// What the media can do when it can do everything.
pub fn able(wanted: Srtp) -> Keying {
    let suites = [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm];
    let line = |(n, suite)| Crypto::new(n, suite, secret(suite, 0xaa));
    Keying {
        wanted,
        sdes: (1..).zip(suites).map(line).collect(),
        dtls: vec![Fingerprint { hash: Hash::Sha256, digest: vec![7; 32] }],
    }
}

fn local(keying: Keying) -> Ability {
    Ability { keying, ..ability(5000) }
}

fn described(media: &[&str]) -> Sdp {
    let head = "v=0\r\no=a 5 6 IN IP4 192.0.2.1\r\ns=x\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    Sdp::parse(format!("{head}{}\r\n", media.join("\r\n")).as_bytes()).unwrap()
}

fn answered(keying: Keying, media: &[&str]) -> Result<(String, offer::Plan), Refusal> {
    offer::answer(&described(media), &local(keying))
}

/// The code of the Warning that goes with a 488.
fn warned(refusal: &Refusal) -> u16 {
    assert_eq!(refusal.status, 488);
    refusal.warning.as_ref().unwrap().code
}

const SAVP: &str = "m=audio 4000 RTP/SAVP 0";
const AVP: &str = "m=audio 4000 RTP/AVP 0";
const DTLS: &str = "m=audio 4000 UDP/TLS/RTP/SAVPF 0";
const ALL: [Srtp; 5] = [Srtp::Off, Srtp::Sdes, Srtp::Dtls, Srtp::RequireSdes, Srtp::RequireDtls];

#[test]
fn media_without_keys_refuses_whoever_insists_and_answers_whoever_only_wishes() {
    for wanted in ALL {
        let none = Keying { wanted, ..Keying::default() };
        for insists in [[SAVP, SHA1_80], [DTLS, PRINT], ["m=audio 4000 RTP/SAVPF 0", PRINT]] {
            assert_eq!(warned(&answered(none.clone(), &insists).unwrap_err()), 302, "{wanted:?} {insists:?}");
        }
        for wishes in [[AVP, SHA1_80], [AVP, PRINT], [AVP, "a=x"]] {
            match answered(none.clone(), &wishes) {
                Ok((text, plan)) => {
                    assert!(!wanted.is_required(), "{wanted:?}");
                    assert_eq!((plan.keys, plan.profile), (Keys::Plain, Profile::Avp));
                    assert!(!text.contains("crypto") && !text.contains("fingerprint"), "{text}");
                }
                Err(refusal) => assert_eq!((warned(&refusal), wanted.is_required()), (302, true), "{wanted:?}"),
            }
        }
        assert_eq!(offer::offer(&local(none)).is_err(), wanted.is_required(), "nothing plain goes out either");
    }
}

#[test]
fn of_two_streams_the_plain_one_is_taken_where_keys_are_not_to_be_had() {
    let (text, plan) = answered(Keying::default(), &[SAVP, SHA1_80, "m=audio 4002 RTP/AVP 0"]).unwrap();
    assert!(text.contains("m=audio 0 RTP/SAVP 0\r\nm=audio 5000 RTP/AVP 0\r\n"), "{text}");
    assert_eq!(plan.remote.port(), 4002);
}

#[test]
fn the_answer_repeats_tag_and_suite_and_has_our_key() {
    let (text, plan) =
        answered(able(Srtp::Sdes), &[SAVP, "a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA", GCM, SHA1_80]).unwrap();
    assert!(text.contains("m=audio 5000 RTP/SAVP 0\r\n"), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("a=crypto")).collect();
    assert_eq!(lines, ["a=crypto:4 AEAD_AES_128_GCM inline:qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqg=="]);
    let Keys::Sdes { local, remote } = plan.keys else { panic!("{plan:?}") };
    assert_eq!((local.tag, remote.tag, local.suite), (4, 4, Suite::AeadAes128Gcm));
    assert_eq!(remote.keys[0].secret.expose(), (0..28).collect::<Vec<u8>>());
}

#[test]
fn lifetime_and_name_of_a_key_are_known() {
    let (_, plan) = answered(able(Srtp::RequireSdes), &[SAVP, SHA1_80]).unwrap();
    let Keys::Sdes { remote, .. } = plan.keys else { panic!("{plan:?}") };
    let key = &remote.keys[0];
    assert_eq!((key.lifetime, key.mki.map(|mki| (mki.value, mki.length))), (Some(1 << 20), Some((1, 4))));
}

#[test]
fn a_line_that_takes_protection_away_is_not_taken() {
    for param in ["UNENCRYPTED_SRTP", "UNAUTHENTICATED_SRTP", "KDR=4", "FEC_ORDER=SRTP_FEC", "X"] {
        let weak = format!("{SHA1_80} {param}");
        assert_eq!(warned(&answered(able(Srtp::Sdes), &[SAVP, &weak]).unwrap_err()), 302, "{param}");
    }
    for param in ["WSH=64", "KDR=0", "-X"] {
        assert!(answered(able(Srtp::Sdes), &[SAVP, &format!("{SHA1_80} {param}")]).is_ok(), "{param}");
    }
}

#[test]
fn a_wish_for_keys_is_granted_on_plain_media() {
    // RFC 8643: the profile stays that of the offer.
    let (text, plan) = answered(able(Srtp::Sdes), &[AVP, SHA1_80]).unwrap();
    assert!(text.contains("m=audio 5000 RTP/AVP 0\r\n") && text.contains("a=crypto:3 "), "{text}");
    assert!(matches!(plan.keys, Keys::Sdes { .. }));
    let (text, plan) = answered(able(Srtp::Dtls), &[AVP, SHA1_80, PRINT, "a=setup:actpass"]).unwrap();
    assert!(text.contains("a=setup:active\r\n") && !text.contains("crypto"), "{text}");
    assert!(matches!(plan.keys, Keys::Dtls { active: true, .. }));
    // Whose trunk wants none gets none.
    assert_eq!(answered(able(Srtp::Off), &[AVP, SHA1_80]).unwrap().1.keys, Keys::Plain);
}

#[test]
fn who_may_choose_begins_the_handshake() {
    for (theirs, ours) in
        [("actpass", Some(true)), ("passive", Some(true)), ("active", Some(false)), ("holdconn", None)]
    {
        let answer = answered(able(Srtp::Dtls), &[DTLS, PRINT, &format!("a=setup:{theirs}")]);
        let active = answer.ok().map(|(text, plan)| {
            let Keys::Dtls { active, fingerprints } = plan.keys else { panic!("{text}") };
            assert_eq!(fingerprints[0].digest, (0..32).collect::<Vec<u8>>());
            assert!(text.contains(if active { "a=setup:active\r\n" } else { "a=setup:passive\r\n" }), "{text}");
            assert!(text.contains("a=fingerprint:sha-256 07:07:"), "{text}");
            active
        });
        assert_eq!(active, ours, "{theirs}");
    }
    // Fingerprint and role may stand above the streams; without a fingerprint that proves something there is no handshake.
    assert!(answered(able(Srtp::Dtls), &[PRINT, "a=setup:actpass", DTLS]).is_ok());
    let weak = "a=fingerprint:sha-1 00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13";
    assert_eq!(warned(&answered(able(Srtp::Dtls), &[DTLS, weak]).unwrap_err()), 302);
}

#[test]
fn what_is_required_is_had_or_the_call_is_refused() {
    for (wanted, lines, goes) in [
        (Srtp::RequireSdes, [AVP, "a=x"], false),
        (Srtp::RequireSdes, [AVP, SHA1_80], true),
        (Srtp::RequireSdes, [DTLS, PRINT], false),
        (Srtp::RequireDtls, [SAVP, SHA1_80], false),
        (Srtp::RequireDtls, [AVP, PRINT], true),
        (Srtp::Sdes, [DTLS, PRINT], true),
        (Srtp::Dtls, [SAVP, SHA1_80], true),
    ] {
        assert_eq!(answered(able(wanted), &lines).is_ok(), goes, "{wanted:?} {lines:?}");
    }
}

#[test]
fn our_offer_says_what_is_wanted() {
    for (wanted, profile, crypto, setup) in [
        (Srtp::Off, "RTP/AVP", 0, false),
        (Srtp::Sdes, "RTP/AVP", 2, false),
        (Srtp::RequireSdes, "RTP/SAVP", 2, false),
        (Srtp::Dtls, "RTP/AVP", 0, true),
        (Srtp::RequireDtls, "UDP/TLS/RTP/SAVP", 0, true),
    ] {
        let text = offer::offer(&local(able(wanted))).unwrap();
        assert!(text.contains(&format!("m=audio 5000 {profile} 0 8 101\r\n")), "{text}");
        assert_eq!(text.matches("a=crypto:").count(), crypto, "{text}");
        assert_eq!(text.contains("a=setup:actpass\r\n") && text.contains("a=fingerprint:"), setup, "{text}");
    }
}

#[test]
fn an_answer_must_be_one_of_our_lines() {
    let ours = local(able(Srtp::RequireSdes));
    let ok = SHA1_80.replace("crypto:3", "crypto:1");
    for (lines, code) in [
        (vec![SAVP, &ok], 0),
        (vec![SAVP], 399),           // no key
        (vec![SAVP, SHA1_80], 399),  // a tag that nobody offered
        (vec![SAVP, &ok, GCM], 399), // two
        (vec![AVP, &ok], 302),       // another profile
        (vec![DTLS, PRINT], 302),
    ] {
        let answer = offer::accept(&ours, &described(&lines));
        assert_eq!(answer.as_ref().err().map_or(0, warned), code, "{lines:?}");
    }
    // A wish may be refused.
    let wish = local(able(Srtp::Sdes));
    assert_eq!(offer::accept(&wish, &described(&[AVP])).unwrap().keys, Keys::Plain);
    assert_eq!(warned(&offer::accept(&wish, &described(&[AVP, SHA1_80])).unwrap_err()), 399);
    let wish = local(able(Srtp::Dtls));
    assert!(offer::accept(&wish, &described(&[AVP, PRINT, "a=setup:actpass"])).is_err(), "an answer decides");
}

#[test]
fn keys_are_shown_to_nobody() {
    let sdp = described(&[SAVP, SHA1_80]);
    let (_, plan) = answered(able(Srtp::Sdes), &[SAVP, SHA1_80]).unwrap();
    let shown = format!("{sdp:?} {plan:?} {:?}", able(Srtp::Sdes));
    assert!(!shown.contains("AAECAw") && !shown.contains("qqqq") && !shown.contains("170, 170"), "{shown}");
}

#[test]
fn keys_of_telephones_go_by_the_clock_of_the_audio_and_by_8000() {
    let wide = Ability { codecs: vec![Codec::Opus, Codec::G722, Codec::Pcmu], ..ability(5000) };
    let text = offer::offer(&wide).unwrap();
    for line in [
        "m=audio 5000 RTP/AVP 111 9 0 101 110\r\n",
        "a=rtpmap:111 opus/48000/2\r\n",
        "a=rtpmap:101 telephone-event/8000\r\n",
        "a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-16\r\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let (answer, theirs) = offer::answer(&Sdp::parse(text.as_bytes()).unwrap(), &wide).unwrap();
    let both = Events { at_8000: Some(101), at_48000: Some(110) };
    assert_eq!((theirs.codec, theirs.payload_type, theirs.events), (Codec::Opus, 111, both));
    assert_eq!((both.beside(Codec::Opus), both.beside(Codec::Pcmu)), (Some(110), Some(101)));
    let ours = offer::accept(&wide, &Sdp::parse(answer.as_bytes()).unwrap()).unwrap();
    assert_eq!((ours.codec, ours.events), (Codec::Opus, both));
    // Without Opus the wide clock is nobody's.
    let (answer, narrow) = offer::answer(&Sdp::parse(text.as_bytes()).unwrap(), &ability(5000)).unwrap();
    assert_eq!(narrow.events, Events { at_8000: Some(101), at_48000: None });
    assert!(!answer.contains("48000"), "{answer}");
}
