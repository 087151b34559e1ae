//! Two legs on loopback talk to each other through real sockets and real threads.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use codecs::g711::Law;
use codecs::pcm::{FRAME, RATE};
use media_core::{Dial, LegCommand, LegConfig, LegEvent, Tick};
use wire::media::{LegControl, Line, Media, MediaConfig, NoPorts, Patch, Ports, Side};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long anything may take on a machine that is busy with other tests; reaching it is a failure, not a measurement.
const PATIENCE: Duration = Duration::from_secs(20);

fn media(ports: RangeInclusive<u16>) -> Media {
    let draining = Duration::from_millis(200);
    Media::start(MediaConfig { threads: 2, bind: HOME, advertise: HOME, ports, draining }).unwrap()
}

fn config(remote: &Ports, ssrc: u32) -> LegConfig {
    LegConfig {
        law: Law::Mu,
        payload_type: 0,
        dtmf_payload_type: Some(101),
        remote: SocketAddr::new(HOME, remote.rtp_port()),
        remote_rtcp: SocketAddr::new(HOME, remote.rtcp_port()),
        ssrc,
        first_sequence: 65_530,
        first_timestamp: u32::MAX - 400,
        cname: format!("leg-{ssrc}"),
        sending: true,
        receiving: true,
    }
}

struct Pair {
    a: (Line, LegControl),
    b: (Line, LegControl),
    port_of_b: u16,
}

fn pair(media: &Media) -> Pair {
    let (at_a, at_b) = (media.reserve().unwrap(), media.reserve().unwrap());
    let (for_a, for_b) = (config(&at_b, 1), config(&at_a, 2));
    let port_of_b = at_b.rtp_port();
    Pair { a: media.open(at_a, for_a), b: media.open(at_b, for_b), port_of_b }
}

/// A second of a loud tone.
fn tone() -> Box<[i16]> {
    (0..RATE).map(|n| ((f64::from(n) * 0.4).sin() * 12_000.0) as i16).collect()
}

fn loud(tick: &Tick) -> bool {
    tick.caller.iter().any(|sample| sample.unsigned_abs() > 4_000)
}

/// Reads both lines until `done`, as two voice threads would.
fn listen(pair: &mut Pair, mut done: impl FnMut(&[Tick], &[LegEvent]) -> bool) -> (Vec<Tick>, Vec<LegEvent>) {
    let until = Instant::now() + PATIENCE;
    let (mut heard_by_b, mut told_to_a) = (Vec::new(), Vec::new());
    while !done(&heard_by_b, &told_to_a) {
        assert!(Instant::now() < until, "not in time; b heard {} ticks, a was told {told_to_a:?}", heard_by_b.len());
        pair.a.0.catch_up(0);
        told_to_a.extend(std::iter::from_fn(|| pair.a.0.events.pop().ok()));
        heard_by_b.extend(std::iter::from_fn(|| pair.b.0.ticks.pop().ok()));
        std::thread::sleep(Duration::from_millis(5));
    }
    (heard_by_b, told_to_a)
}

fn is_mark(event: &LegEvent) -> bool {
    matches!(event, LegEvent::Mark { .. })
}

#[test]
fn what_one_leg_plays_the_other_hears_and_the_mark_comes_back() {
    let media = media(12000..=12039);
    let mut pair = pair(&media);
    pair.a.0.commands.push(LegCommand::Speak { r#gen: 1, pcm: tone() }).unwrap();
    pair.a.0.commands.push(LegCommand::Finish { r#gen: 1 }).unwrap();
    let (heard, told) = listen(&mut pair, |heard, told| {
        told.iter().any(is_mark) && heard.iter().filter(|tick| loud(tick)).count() > 25
    });
    // Whole frames, in order; a gap is allowed where this test itself was too slow to read.
    assert!(heard.windows(2).all(|two| two[1].at > two[0].at && (two[1].at - two[0].at) % FRAME as u64 == 0));
    assert_eq!(told.iter().filter(|event| is_mark(event)).count(), 1);
    // The box travels back to be freed where it was made.
    let until = Instant::now() + PATIENCE;
    while pair.a.0.free_spent() == 0 {
        assert!(Instant::now() < until, "the audio never came back");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(media.counts().freed_here, 0);
}

#[test]
fn garbage_datagrams_are_harmless() {
    let media = media(12040..=12079);
    let mut pair = pair(&media);
    let stranger = UdpSocket::bind((HOME, 0)).unwrap();
    for length in 0..400usize {
        let junk: Vec<u8> = (0..length).map(|n| (n.wrapping_mul(37) ^ length) as u8).collect();
        for port in [pair.port_of_b, pair.port_of_b + 1] {
            stranger.send_to(&junk, (HOME, port)).unwrap();
        }
    }
    pair.a.0.commands.push(LegCommand::Speak { r#gen: 1, pcm: tone() }).unwrap();
    listen(&mut pair, |heard, _| heard.iter().filter(|tick| loud(tick)).count() > 25);
    assert_eq!(media.counts().panics, 0);
    assert_eq!(media.counts().legs, 2);
}

#[test]
fn a_dropped_control_ends_the_leg_and_frees_its_ports_after_a_rest() {
    let media = media(12080..=12081);
    let ports = media.reserve().unwrap();
    let config = config(&ports, 1);
    let (line, control) = media.open(ports, config.clone());
    assert!(matches!(media.reserve(), Err(NoPorts::Exhausted { .. })));
    drop(control);
    let until = Instant::now() + PATIENCE;
    let again = loop {
        assert!(Instant::now() < until, "the pair never came back");
        match media.reserve() {
            Ok(ports) => break ports,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(line.is_closed());
    assert_eq!(again.rtp_port(), 12080);
    assert!(media.port_counts().refused >= 1);
    assert_eq!(media.counts().legs, 0);
}

#[test]
fn an_address_that_is_not_ours_is_found_out_at_the_start() {
    let bind = "192.0.2.1".parse().unwrap();
    let ports = 12090..=12099;
    let draining = Duration::ZERO;
    let error = Media::start(MediaConfig { threads: 1, bind, advertise: bind, ports, draining }).unwrap_err();
    assert!(error.to_string().contains("udp 192.0.2.1"), "{error}");
}

#[test]
fn a_voice_thread_that_does_not_read_loses_ticks_and_nothing_else() {
    let media = media(12100..=12139);
    let mut pair = pair(&media);
    let until = Instant::now() + PATIENCE;
    while media.counts().lost_ticks < 20 {
        assert!(Instant::now() < until, "a full ring was never counted");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(media);
    assert!(pair.b.0.catch_up(4) > 0);
    assert_eq!(pair.b.0.ticks.slots(), 4);
}

#[test]
fn bridged_legs_pass_on_what_their_callers_say_and_press() {
    let media = media(12140..=12179);
    let [mut anna, mut ours, mut theirs, mut bert] = {
        let ports: [Ports; 4] = std::array::from_fn(|_| media.reserve().unwrap());
        let configs = [(1, 1), (0, 2), (3, 3), (2, 4)].map(|(remote, ssrc)| config(&ports[remote], ssrc));
        let mut legs = ports.into_iter().zip(configs).map(|(ports, config)| media.open(ports, config));
        std::array::from_fn(|_| legs.next().unwrap())
    };
    let (to_anna, to_bert) = Patch::bridge();
    ours.1.patch(to_anna);
    theirs.1.patch(to_bert);
    // Patches go by another way than commands; both are in place after a few ticks.
    std::thread::sleep(Duration::from_millis(100));
    // What our own side has to say waits for the end of the bridge.
    ours.0.commands.push(LegCommand::Speak { r#gen: 1, pcm: tone() }).unwrap();
    ours.0.commands.push(LegCommand::Finish { r#gen: 1 }).unwrap();
    anna.0.commands.push(LegCommand::Speak { r#gen: 1, pcm: tone() }).unwrap();
    anna.1.press(Dial::plain(b"4#".to_vec()));
    let until = Instant::now() + PATIENCE;
    let (mut heard, mut keys, mut sent) = (0, Vec::new(), Vec::new());
    while heard < 45 || keys.len() < 2 || sent.len() < 2 {
        assert!(Instant::now() < until, "{heard} loud frames, keys {keys:?}, pressed on {sent:?}");
        heard += std::iter::from_fn(|| bert.0.ticks.pop().ok()).filter(loud).count();
        keys.extend(std::iter::from_fn(|| bert.0.events.pop().ok()).filter_map(|event| match event {
            LegEvent::Key { digit, .. } => Some(digit),
            _ => None,
        }));
        sent.extend(std::iter::from_fn(|| theirs.0.events.pop().ok()).filter_map(|event| match event {
            LegEvent::Sent { digit, .. } => Some(digit),
            _ => None,
        }));
        let back = std::iter::from_fn(|| anna.0.ticks.pop().ok()).filter(loud).count();
        assert_eq!(back, 0, "Anna hears a voice that is not in the bridge");
        assert!(!std::iter::from_fn(|| ours.0.events.pop().ok()).any(|event| is_mark(&event)));
        ours.0.catch_up(0);
        theirs.0.catch_up(0);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((keys.as_slice(), sent.as_slice()), (&b"4#"[..], &b"4#"[..]));
    ours.1.unpatch();
    theirs.1.unpatch();
    let mut back = 0;
    while back < 45 {
        assert!(Instant::now() < until, "{back} loud frames of what had waited");
        back += std::iter::from_fn(|| anna.0.ticks.pop().ok()).filter(loud).count();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_muted_side_is_silent_and_its_keys_are_not() {
    let media = media(12180..=12219);
    let mut pair = pair(&media);
    pair.b.1.mute(Side::Caller, true);
    pair.a.0.commands.push(LegCommand::Speak { r#gen: 1, pcm: tone() }).unwrap();
    pair.a.0.commands.push(LegCommand::Finish { r#gen: 1 }).unwrap();
    pair.a.1.press(Dial::plain(b"7".to_vec()));
    let (heard, _) = listen(&mut pair, |_, told| told.iter().any(is_mark));
    assert_eq!(heard.iter().filter(|tick| loud(tick)).count(), 0);
    let until = Instant::now() + PATIENCE;
    while !std::iter::from_fn(|| pair.b.0.events.pop().ok()).any(|event| matches!(event, LegEvent::Key { .. })) {
        assert!(Instant::now() < until, "the key of a muted caller is lost");
        std::thread::sleep(Duration::from_millis(5));
    }
}
