//! Where our RTP goes: to the place of the last description however it came, and never into networks that a caller only names.

use std::net::SocketAddr;
use std::time::Duration;

use tests::{Line, Sidetone, Sip, elsewhere, free_port, header, request, rtp_header};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

const SDP: &str = "Content-Type: application/sdp\r\n";

fn sdp(at: SocketAddr, version: u32) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}

async fn place(ip: std::net::IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).await.unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

/// Packets that come within half a second; those that are on their way already are passed over.
async fn packets(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2048];
    for (wait, counts) in [(100, false), (500, true)] {
        let (until, mut count) = (Instant::now() + Duration::from_millis(wait), 0);
        while let Ok(Ok(_)) = timeout_at(until, socket.recv_from(&mut buffer)).await {
            count += 1;
        }
        if counts {
            return count;
        }
    }
    0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_follows_the_last_description_however_it_came() {
    let server = Sidetone::start().await;
    let line = Line::call(server.sip, &server.uri("bench")).await;
    let home = "127.0.0.1".parse().unwrap();
    let (first, (second, at_second), (third, at_third), (fourth, at_fourth)) =
        (line.rtp(), place(home).await, place(home).await, place(home).await);
    let came = async || {
        let counts = tokio::join!(packets(&first), packets(&second), packets(&third), packets(&fourth));
        [counts.0, counts.1, counts.2, counts.3].map(|count| count > 10)
    };
    assert_eq!(came().await, [true, false, false, false], "the first description");

    let answer = line.sip().ask(&line.within_with("INVITE", 2, SDP, &sdp(at_second, 2))).await;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    line.sip().send(line.within_with("ACK", 2, "", "").as_bytes()).await;
    assert_eq!(came().await, [false, true, false, false], "an offer in a re-INVITE");

    let offer = line.sip().ask(&line.within_with("INVITE", 3, "", "")).await;
    assert!(offer.starts_with("SIP/2.0 200") && offer.contains("m=audio "), "{offer}");
    line.sip().send(line.within_with("ACK", 3, SDP, &sdp(at_third, 3)).as_bytes()).await;
    assert_eq!(came().await, [false, false, true, false], "an answer in the ACK of a re-INVITE");

    let answer = line.sip().ask(&line.within_with("UPDATE", 4, SDP, &sdp(at_fourth, 4))).await;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!(came().await, [false, false, false, true], "an offer in an UPDATE");

    let nowhere = sdp(SocketAddr::from(([0, 0, 0, 0], 4000)), 5);
    let answer = line.sip().ask(&line.within_with("INVITE", 5, SDP, &nowhere)).await;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    line.sip().send(line.within_with("ACK", 5, "", "").as_bytes()).await;
    assert_eq!(came().await, [false; 4], "hold by 0.0.0.0");
    line.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_never_goes_into_a_network_that_the_caller_only_names() {
    let address = elsewhere();
    // The API listens for everybody: so this machine's own networks are closed to calls.
    let open = SocketAddr::from(([0, 0, 0, 0], free_port())).to_string();
    let server = Sidetone::with(|plan| plan.also_at(address).set("HTTP__LISTEN", &open)).await;
    let at = SocketAddr::new(address, server.sip.port());
    let sip = Sip::between(address, at).await;
    let ((victim, named), (real, _)) = (place("127.0.0.1".parse().unwrap()).await, place(address).await);
    let invite = request("INVITE", &format!("sip:demo@{at}"), sip.at(), &sdp(named, 1));
    let answer = sip.ask(&invite).await;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let ack = invite
        .replace("INVITE", "ACK")
        .replace("branch=z9hG4bK", "branch=z9hG4bKack")
        .replace(&format!("To: {}", header(&invite, "To")), &format!("To: {}", header(&answer, "To")));
    let (head, _) = ack.split_once("Content-Type").unwrap();
    sip.send(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).await;
    assert_eq!(packets(&victim).await, 0, "what the caller only names gets nothing");

    // Where the caller really is, it is heard and spoken to.
    let port = answer.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let target = SocketAddr::new(address, port.parse().unwrap());
    let speaking = async {
        for n in 0..60 {
            real.send_to(&[&rtp_header(n, 0, 7)[..], &[0xff; 160]].concat(), target).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ((), count) = tokio::join!(speaking, packets(&real));
    assert!(count > 3, "{count} packets came to where the caller is");
    assert_eq!(packets(&victim).await, 0);
}
