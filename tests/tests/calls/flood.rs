//! More calls than there is room for are refused at once, and the call that is up hears no difference.

use std::time::{Duration, Instant};

use tests::{Line, Sidetone, Sip, header, request};

const CALLS: usize = 300;
const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_beyond_capacity_is_refused_at_once_and_leaves_nothing() {
    let server = Sidetone::with(|plan| plan.set("LIMITS__CALLS", "1")).await;
    let mut line = Line::call(server.sip, &server.uri("bench")).await;
    let alone = line.talk(100, Duration::ZERO, |_| [0xff; 160]).await.len();

    let sip = Sip::towards(server.sip).await;
    let flood = async {
        let (mut slowest, mut refused) = (Duration::ZERO, 0);
        for _ in 0..CALLS {
            let asked = Instant::now();
            let answer = sip.ask(&request("INVITE", &server.uri("demo"), sip.at(), OFFER)).await;
            assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
            assert!(!header(&answer, "Retry-After").is_empty(), "{answer}");
            (slowest, refused) = (slowest.max(asked.elapsed()), refused + 1);
        }
        (slowest, refused)
    };
    let (beside, (slowest, refused)) = tokio::join!(line.talk(100, Duration::ZERO, |_| [0xff; 160]), flood);
    assert_eq!(refused, CALLS);
    // No promise of speed: a refusal that waited for anything (a ring, a greeting, the store) would take longer.
    assert!(slowest < Duration::from_secs(2), "the slowest refusal took {slowest:?}");
    let beside = beside.len();
    assert!(beside + 10 >= alone, "{beside} of {alone} packets came during the flood");
    assert_eq!(server.api.calls().await.len(), 1, "what was refused for want of room leaves no rows");
    line.hang_up().await;

    // The room is free again for the next.
    let began = Instant::now();
    loop {
        let answer = sip.ask(&request("INVITE", &server.uri("nobody"), sip.at(), OFFER)).await;
        if answer.starts_with("SIP/2.0 404 ") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
