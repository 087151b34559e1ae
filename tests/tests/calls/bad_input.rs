//! What no honest client sends is refused or ignored, and the call beside hears no difference.

use std::time::Duration;

use tests::{Line, SSRC, Sidetone, Sip, request, rtp_header};
use tokio::net::UdpSocket;

/// A frame that nobody who is honest sends.
const FOREIGN: [u8; 160] = [0x2a; 160];

/// The echo has answered by then.
const ECHO: Duration = Duration::from_millis(400);

fn offer(media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{media}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_requests_get_the_answer_of_the_book() {
    let server = Sidetone::start().await;
    let sip = Sip::towards(server.sip).await;
    let demo = server.uri("demo");

    let answer = sip.ask(&request("BREW", &demo, sip.at(), "")).await;
    assert!(
        answer.starts_with("SIP/2.0 405 ") && answer.contains("\r\nAllow: ") && answer.contains("INVITE"),
        "{answer}"
    );
    for (what, media) in [
        ("video only", "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"),
        ("a codec that nobody here speaks", "m=audio 4000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n"),
        ("no media at all", ""),
        ("audio switched off", "m=audio 0 RTP/AVP 0\r\n"),
    ] {
        let invite = request("INVITE", &demo, sip.at(), &offer(media));
        let answer = sip.ask(&invite).await;
        assert!(answer.starts_with("SIP/2.0 488 "), "{what}: {answer}");
    }
    let answer =
        sip.ask(&request("INVITE", &server.uri("nobody"), sip.at(), &offer("m=audio 4000 RTP/AVP 0\r\n"))).await;
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");
    for call in server.api.calls().await {
        server.api.until(call["id"].as_str().unwrap(), |call| call["status"] == "failed").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_survived() {
    let server = Sidetone::start().await;
    let sip = Sip::towards(server.sip).await;
    let mut noise: u64 = 0x9e37_79b9_7f4a_7c15;
    for length in (0..1500).step_by(7) {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .take(length)
        .collect();
        sip.send(&bytes).await;
    }
    // Every beginning of a good INVITE, and the same with one byte of it turned over.
    let invite = request("INVITE", &server.uri("demo"), sip.at(), &offer("m=audio 4000 RTP/AVP 0\r\n"));
    for cut in 0..invite.len() {
        sip.send(&invite.as_bytes()[..cut]).await;
        // The kernel's queue is no part of what is shown here.
        if cut % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while sip.next(Duration::from_millis(300)).await.is_some() {}
    let other = Sip::towards(server.sip).await;
    let answer = other.ask(&request("OPTIONS", &server.uri("demo"), other.at(), "")).await;
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let mut line = Line::call(server.sip, &server.uri("echo")).await;
    let came = line.talk(50, ECHO, |n| frame(1, n)).await;
    assert!(numbers(&came, 1).len() > 20, "the echo says {:?}", numbers(&came, 1));
    line.hang_up().await;
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_wrong_packets_do_not_reach_the_ear() {
    let server = Sidetone::start().await;
    let echo = server.uri("echo");
    let (mut attacked, mut beside) = tokio::join!(Line::call(server.sip, &echo), Line::call(server.sip, &echo));
    // The first half second is the source's own: after that it is known (a stranger before it would be the caller).
    let (first, _) = tokio::join!(attacked.talk(25, ECHO, |n| frame(1, n)), beside.talk(25, ECHO, |n| frame(2, n)));
    assert!(!first.is_empty(), "the echo answers");

    let target = attacked.remote;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let attack = async {
        for n in 0..200_u16 {
            let packet = |kind: u8, ssrc: u32| [&rtp_header(7_000 + n, kind, ssrc)[..], &FOREIGN].concat();
            // The right type from a stranger, as its own stream and with a guess at the caller's.
            for ssrc in [0x5712_a90e, SSRC] {
                stranger.send_to(&packet(0, ssrc), target).await.unwrap();
            }
            // No RTP at all.
            stranger.send_to(&FOREIGN, target).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let own = attacked.rtp();
    let wrong = async {
        // From the caller's own port and source: types that were not agreed on, another version, cut off, nothing.
        for n in 0..200_u16 {
            for kind in [8, 18, 101, 127] {
                own.send_to(&[&rtp_header(26 + n, kind, SSRC)[..], &FOREIGN].concat(), target).await.unwrap();
            }
            let mut version = [&rtp_header(26 + n, 0, SSRC)[..], &FOREIGN].concat();
            version[0] = 0x40;
            for packet in [&version[..], &version[..11], &[]] {
                own.send_to(packet, target).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (heard, calm, (), ()) =
        tokio::join!(attacked.talk(200, ECHO, |n| frame(1, n)), beside.talk(200, ECHO, |n| frame(2, n)), attack, wrong);
    // A busy machine costs both lines some frames; what gets through to the ear would cost the attacked one nearly all.
    for (who, heard) in [(1, &heard), (2, &calm)] {
        let foreign = heard.concat().windows(20).any(|window| window == &FOREIGN[..20]);
        assert!(!foreign, "line {who} heard the stranger");
        let numbers = numbers(heard, who);
        assert!(numbers.len() >= 100, "line {who} heard {} of 200 frames: {numbers:?}", numbers.len());
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "line {who} heard out of order: {numbers:?}");
    }
    attacked.hang_up().await;
    beside.hang_up().await;
}

/// A frame that says whose it is and which; loud enough and smooth enough to be nobody's concealment.
fn frame(who: u8, n: u16) -> [u8; 160] {
    let mut frame = [0x80 | who; 160];
    for (place, digit) in [n >> 8 & 15, n >> 4 & 15, n & 15].into_iter().enumerate() {
        frame[10 + place * 10..20 + place * 10].fill(0xc0 | digit as u8);
    }
    frame
}

/// The frames of `who` that can be read in what was heard, wherever they begin: a jitter buffer may shift them.
fn numbers(heard: &[[u8; 160]], who: u8) -> Vec<u16> {
    let stream = heard.concat();
    let mark = frame(who, 0);
    let whole = |window: &[u8]| {
        let digit = |place: usize| u16::from(window[10 + place * 10] & 15);
        let n = digit(0) << 8 | digit(1) << 4 | digit(2);
        (window == frame(who, n)).then_some(n)
    };
    stream.windows(mark.len()).filter(|window| window[..10] == mark[..10]).filter_map(whole).collect()
}
