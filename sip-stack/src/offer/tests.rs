//! Offers and answers as literal text.

use super::*;

fn local() -> Ability {
    Ability {
        address: "198.51.100.7".parse().unwrap(),
        port: 16384,
        rtcp_port: 16385,
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        keying: Keying::default(),
        session_id: 77,
        version: 3,
    }
}

/// A whole description from its lines below `t=`, `|` for a line end.
fn described(connection: &str, rest: &str) -> Sdp {
    let text = format!("v=0|o=a 5 6 IN IP4 192.0.2.1|s=x|{connection}|t=0 0|{rest}|").replace('|', "\r\n");
    Sdp::parse(text.as_bytes()).unwrap()
}

const HERE: &str = "c=IN IP4 192.0.2.1";

fn answered(rest: &str) -> (String, Plan) {
    answer(&described(HERE, rest), &local()).unwrap()
}

/// Status and warning code of a refusal.
fn refused(connection: &str, rest: &str) -> (u16, u16) {
    let refusal = answer(&described(connection, rest), &local()).unwrap_err();
    (refusal.status, refusal.warning.unwrap().code)
}

#[test]
fn an_ordinary_offer_is_answered_with_one_codec_and_events() {
    let (text, plan) =
        answered("m=audio 4000 RTP/AVP 9 8 0 97|a=rtpmap:9 G722/8000|a=rtpmap:97 telephone-event/8000|a=ptime:30");
    assert_eq!(
        text.replace("\r\n", "|"),
        "v=0|o=- 77 3 IN IP4 198.51.100.7|s=-|c=IN IP4 198.51.100.7|t=0 0|m=audio 16384 RTP/AVP 8 97|\
         a=rtpmap:8 PCMA/8000|a=rtpmap:97 telephone-event/8000|a=fmtp:97 0-16|a=ptime:20|a=sendrecv|"
    );
    let expected = Plan {
        codec: Codec::Pcma,
        payload_type: 8,
        events: Events { at_8000: Some(97), at_48000: None },
        profile: Profile::Avp,
        keys: Keys::Plain,
        remote: "192.0.2.1:4000".parse().unwrap(),
        remote_rtcp: "192.0.2.1:4001".parse().unwrap(),
        direction: Direction::SendRecv,
        ptime_ms: 30,
    };
    assert_eq!(plan, expected);
}

#[test]
fn a_dynamic_number_for_g711_is_kept_and_a_wide_event_clock_is_not() {
    let (text, plan) =
        answered("m=audio 4000 RTP/AVP 110 101|a=rtpmap:110 pcmu/8000/1|a=rtpmap:101 telephone-event/48000");
    assert_eq!((plan.codec, plan.payload_type, plan.events), (Codec::Pcmu, 110, Events::default()));
    assert!(text.contains("m=audio 16384 RTP/AVP 110\r\n"));
}

#[test]
fn other_streams_are_refused_with_port_0_in_their_place() {
    let (text, plan) = answered(
        "m=video 5000 RTP/AVP 31 34|m=audio 0 RTP/AVP 0|m=audio 4000 RTP/AVP 0|m=audio 4002 RTP/AVP 0|m=application 9 TCP/BFCP *",
    );
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 31",
            "m=audio 0 RTP/AVP 0",
            "m=audio 16384 RTP/AVP 0",
            "m=audio 0 RTP/AVP 0",
            "m=application 0 TCP/BFCP *"
        ]
    );
    assert_eq!(plan.remote.port(), 4000);
}

#[test]
fn each_direction_gets_its_mirror() {
    for (theirs, ours, direction) in [
        ("sendrecv", "sendrecv", Direction::SendRecv),
        ("sendonly", "recvonly", Direction::RecvOnly),
        ("recvonly", "sendonly", Direction::SendOnly),
        ("inactive", "inactive", Direction::Inactive),
    ] {
        let (text, plan) = answered(&format!("m=audio 4000 RTP/AVP 0|a={theirs}"));
        assert!(text.contains(&format!("a={ours}\r\n")), "{theirs}");
        assert_eq!(plan.direction, direction);
        let (_, plan) = answered(&format!("a={theirs}|m=audio 4000 RTP/AVP 0"));
        assert_eq!(plan.direction, direction, "of the session");
    }
    let (_, plan) = answered("a=inactive|m=audio 4000 RTP/AVP 0|a=sendonly");
    assert_eq!(plan.direction, Direction::RecvOnly);
}

#[test]
fn an_unspecified_address_is_a_hold() {
    let (text, plan) = answer(&described("c=IN IP4 0.0.0.0", "m=audio 4000 RTP/AVP 0"), &local()).unwrap();
    assert_eq!(plan.direction, Direction::Inactive);
    assert!(text.contains("a=inactive\r\n"));
}

#[test]
fn a_streams_own_address_and_rtcp_port_win() {
    let (_, plan) = answered("m=audio 4000 RTP/AVP 0|c=IN IP4 192.0.2.99|a=rtcp:53020");
    assert_eq!(
        (plan.remote, plan.remote_rtcp),
        ("192.0.2.99:4000".parse().unwrap(), "192.0.2.99:53020".parse().unwrap())
    );
    let (_, plan) = answered("m=audio 4000 RTP/AVP 0|a=rtcp:53020 IN IP4 203.0.113.1");
    assert_eq!(plan.remote_rtcp, "192.0.2.1:53020".parse().unwrap(), "not to a third party");
    let (_, plan) = answered("m=audio 65535 RTP/AVP 0");
    assert_eq!(plan.remote_rtcp.port(), 65535);
}

#[test]
fn what_cannot_be_served_is_488_with_a_warning() {
    assert_eq!(refused(HERE, "m=video 5000 RTP/AVP 31"), (488, 304));
    assert_eq!(refused(HERE, "a=nothing"), (488, 304));
    assert_eq!(refused(HERE, "m=audio 0 RTP/AVP 0"), (488, 304));
    assert_eq!(refused(HERE, "m=audio 4000 RTP/SAVP 0"), (488, 302));
    assert_eq!(refused(HERE, "m=audio 4000 RTP/AVP 18 9"), (488, 305));
    assert_eq!(refused(HERE, "m=audio 4000 RTP/AVP 0|a=rtpmap:0 G729/8000"), (488, 305));
    assert_eq!(refused("c=IN IP4 224.2.1.1/127", "m=audio 4000 RTP/AVP 0"), (488, 330));
    assert_eq!(refused("c=IN IP4 255.255.255.255", "m=audio 4000 RTP/AVP 0"), (488, 330));
    assert_eq!(refused("c=IN IP6 2001:db8::1", "m=audio 4000 RTP/AVP 0"), (488, 301));
    assert_eq!(refused("c=IN IP4 ::1", "m=audio 4000 RTP/AVP 0"), (488, 301));
    assert_eq!(refused("c=IN IP4 host.example", "m=audio 4000 RTP/AVP 0"), (488, 301));
    assert_eq!(refused("b=AS:64", "m=audio 4000 RTP/AVP 0"), (488, 399));
    assert_eq!(refused(HERE, &vec!["m=audio 4000 RTP/AVP 0"; 500].join("|")), (488, 304));
}

#[test]
fn two_hundred_codecs_are_searched_for_ours() {
    let list: Vec<_> = (10..110).rev().chain([0]).map(|number: u8| number.to_string()).collect();
    let (_, plan) = answered(&format!("m=audio 4000 RTP/AVP {}", list.join(" ")));
    assert_eq!(plan.payload_type, 0);
}

#[test]
fn our_offer_is_understood_by_our_answer_and_back() {
    let ours = Ability { codecs: vec![Codec::Pcma], rtcp_port: 20000, ..local() };
    let text = offer(&ours).unwrap();
    assert!(text.contains("m=audio 16384 RTP/AVP 8 101\r\n"));
    let other = Ability { address: "192.0.2.50".parse().unwrap(), port: 4000, rtcp_port: 4001, ..local() };
    let (text, theirs) = answer(&Sdp::parse(text.as_bytes()).unwrap(), &other).unwrap();
    assert_eq!(theirs.remote_rtcp, "198.51.100.7:20000".parse().unwrap());
    let plan = accept(&ours, &Sdp::parse(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        (plan.codec, plan.events.at_8000, plan.remote),
        (Codec::Pcma, Some(101), "192.0.2.50:4000".parse().unwrap())
    );
}

#[test]
fn an_answer_that_switches_our_stream_off_is_refused() {
    assert!(accept(&local(), &described(HERE, "m=audio 0 RTP/AVP 0")).is_err());
    assert!(accept(&local(), &described(HERE, "m=video 9 RTP/AVP 31")).is_err());
}

#[test]
fn ipv6_is_answered_in_kind() {
    let local = Ability { address: "2001:db8::7".parse().unwrap(), ..local() };
    let (text, plan) = answer(&described("c=IN IP6 2001:db8::1", "m=audio 4000 RTP/AVP 0"), &local).unwrap();
    assert!(text.contains("c=IN IP6 2001:db8::7\r\n"));
    assert_eq!(plan.remote, "[2001:db8::1]:4000".parse().unwrap());
}

#[test]
fn what_is_no_description_is_an_error() {
    use crate::sdp::SdpError;
    for text in ["", "hello", "v=1\r\n", "m=audio 1 RTP/AVP 0\r\n"] {
        assert_eq!(Sdp::parse(text.as_bytes()), Err(SdpError::NotSdp), "{text}");
    }
    for line in ["m=audio", "m=audio x RTP/AVP 0", "m=audio 99999 RTP/AVP 0", "m=audio -1 RTP/AVP 0"] {
        assert_eq!(Sdp::parse(format!("v=0\r\n{line}\r\n").as_bytes()), Err(SdpError::Media), "{line}");
    }
    let sdp =
        Sdp::parse(b"v=0\nc=IN IP4 192.0.2.1\n\ngarbage\nm=audio 4000/2 RTP/AVP 0 x 300\na=rtpmap:x\na=rtpmap:0\n")
            .unwrap();
    assert_eq!(sdp.media[0].payload_types().collect::<Vec<_>>(), [0]);
}
