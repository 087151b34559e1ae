//! Two legs of trunks that allow it send their media to each other, and send it here again when somebody here needs it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Sidetone, Sip, header, request, rtp_header};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

const NUMBER: &str = "+12125550155";
const FRAME: [u8; 160] = [0xff; 160];

/// A telephone by hand: one call, and one socket for its media.
struct Telephone {
    sip: Sip,
    rtp: UdpSocket,
    /// The first INVITE of its call, whoever sent it, and the tag of the server.
    call_id: String,
    local: String,
    remote: String,
    contact: String,
    version: u32,
    seen: u32,
    /// Where the other side of its media is.
    to: SocketAddr,
}

fn place(sdp: &str) -> SocketAddr {
    let after =
        |what: &str| sdp.rsplit(what).next().and_then(|rest| rest.split([' ', '\r']).next()).unwrap().to_owned();
    assert!(sdp.contains("m=audio ") && sdp.contains("c=IN IP4 "), "{sdp}");
    SocketAddr::new(after("c=IN IP4 ").parse().unwrap(), after("m=audio ").parse().unwrap())
}

impl Telephone {
    async fn at(ip: IpAddr, server: SocketAddr) -> Self {
        let (sip, rtp) = (Sip::between(ip, server).await, UdpSocket::bind((ip, 0)).await.unwrap());
        let text = String::new;
        Self {
            sip,
            rtp,
            call_id: text(),
            local: text(),
            remote: text(),
            contact: text(),
            version: 0,
            seen: 0,
            to: server,
        }
    }

    fn media(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }

    fn sdp(&mut self, direction: &str) -> String {
        self.version += 1;
        let (at, version) = (self.media(), self.version);
        format!(
            "v=0\r\no=- 1 {version} IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n",
            at.ip(),
            at.port()
        )
    }

    async fn call(&mut self, uri: &str) {
        let offer = self.sdp("sendrecv");
        let invite = request("INVITE", uri, self.sip.at(), &offer);
        let answer = self.sip.ask(&invite).await;
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        self.call_id = header(&invite, "Call-ID").to_owned();
        (self.local, self.remote) = (header(&invite, "From").to_owned(), header(&answer, "To").to_owned());
        self.contact = header(&answer, "Contact").trim_matches(['<', '>']).to_owned();
        self.to = place(&answer);
        self.sip.send(self.within("ACK", 1, "").as_bytes()).await;
    }

    fn within(&self, method: &str, cseq: u32, body: &str) -> String {
        let at = self.sip.at();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{method}-{cseq}-{}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <sip:hand@{at}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.contact,
            self.call_id,
            self.local,
            self.remote,
            self.call_id,
            body.len(),
        )
    }

    /// The next INVITE that is no repetition.
    async fn invited(&mut self) -> String {
        loop {
            let invite = self.sip.request("INVITE").await;
            let number = header(&invite, "CSeq").split(' ').next().unwrap().parse().unwrap();
            if number > self.seen {
                self.seen = number;
                return invite;
            }
        }
    }

    /// Answers an INVITE with a description and gives the ACK.
    async fn accept(&mut self, invite: &str, direction: &str) -> String {
        let sdp = self.sdp(direction);
        let copied: String = ["Via", "From", "Call-ID", "CSeq"]
            .iter()
            .map(|name| format!("{name}: {}\r\n", header(invite, name)))
            .collect();
        let to = header(invite, "To");
        let to = if to.contains("tag=") { to.to_owned() } else { format!("{to};tag=by-hand") };
        if self.call_id.is_empty() {
            self.call_id = header(invite, "Call-ID").to_owned();
            (self.local, self.remote) = (to.clone(), header(invite, "From").to_owned());
            self.contact = header(invite, "Contact").trim_matches(['<', '>']).to_owned();
        }
        let at = self.sip.at();
        let answer = format!(
            "SIP/2.0 200 OK\r\n{copied}To: {to}\r\nContact: <sip:hand@{at}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.sip.send(answer.as_bytes()).await;
        if let Some((_, offer)) = invite.split_once("\r\n\r\n").filter(|(_, offer)| !offer.is_empty()) {
            self.to = place(offer);
        }
        let ack = self.sip.request("ACK").await;
        if let Some((_, answer)) = ack.split_once("\r\n\r\n").filter(|(_, answer)| !answer.is_empty()) {
            self.to = place(answer);
        }
        ack
    }

    /// Speaks to wherever it was told for half a second, and counts the packets that come meanwhile by where they are from.
    async fn speak(&self) -> Vec<SocketAddr> {
        let mut buffer = [0; 2048];
        // What is on its way already.
        let until = Instant::now() + Duration::from_millis(200);
        while timeout_at(until, self.rtp.recv_from(&mut buffer)).await.is_ok() {}
        let mut from = Vec::new();
        for n in 0..25 {
            let packet = [&rtp_header(n, 0, 7)[..], &FRAME].concat();
            self.rtp.send_to(&packet, self.to).await.unwrap();
            let until = Instant::now() + Duration::from_millis(20);
            while let Ok(Ok((_, source))) = timeout_at(until, self.rtp.recv_from(&mut buffer)).await {
                from.push(source);
            }
        }
        from
    }
}

/// Both are offered the server's own place, and take it.
async fn bridge_returns(caller: &mut Telephone, target: &mut Telephone) {
    tokio::join!(
        async {
            let offered = caller.invited().await;
            caller.accept(&offered, "sendrecv").await;
        },
        async {
            let offered = target.invited().await;
            target.accept(&offered, "sendrecv").await;
        }
    );
}

struct Bridge {
    server: Sidetone,
    caller: Telephone,
    target: Telephone,
    call: String,
}

/// A call from a trunk, handed over to somebody behind the same trunk.
async fn bridge(release: &str) -> Bridge {
    let server = Sidetone::with(|plan| plan.set("RECORDING__ENABLED", "false")).await;
    let ip = IpAddr::from([127, 0, 7, 1]);
    let (mut caller, mut target) = (Telephone::at(ip, server.sip).await, Telephone::at(ip, server.sip).await);
    let document = json!({"name": "Carrier", "media": {"release": release}, "sip": {"options_ping_s": 0},
                          "gateways": [{"host": ip.to_string(), "port": target.sip.at().port()}]});
    let trunk = server.api.post("trunks", &document).await;
    assert_eq!(trunk["media"]["release"], release);
    let agent = server.api.post("agents", &json!({"name": "Desk"})).await;
    let number = json!({"e164": NUMBER, "carrier": "none", "trunk_id": trunk["id"]});
    let number = server.api.post("numbers", &number).await;
    let path = format!("numbers/{}/assign", number["id"].as_str().unwrap());
    server.api.put(&path, "application/json", &json!({"agent_id": agent["id"]}).to_string()).await;

    caller.call(&server.uri(NUMBER)).await;
    let user = caller.local.trim_start_matches("<sip:").split('@').next().unwrap().to_owned();
    let call = loop {
        // The row is written beside the call.
        if let Some(call) = server.api.call_from(&user).await {
            break call["id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    server.api.until(&call, |call| call["status"] == "in_progress").await;
    server.api.post(&format!("calls/{call}/transfer"), &json!({"to": "+14155550100"})).await;
    let invite = target.invited().await;
    target.accept(&invite, "sendrecv").await;
    server.api.told(&call, "call.transfer.bridged").await;
    Bridge { server, caller, target, call }
}

impl Bridge {
    /// Who speaks to whom, and whether each of them hears only that one.
    async fn is_direct(&self) -> bool {
        let (caller, target) = tokio::join!(self.caller.speak(), self.target.speak());
        let (to_caller, to_target) = (self.target.media(), self.caller.media());
        let direct = caller.iter().all(|from| *from == to_caller) && target.iter().all(|from| *from == to_target);
        let here = caller.iter().chain(&target).all(|from| *from != to_caller && *from != to_target);
        assert!(direct != here, "some came from the server and some did not: {caller:?} {target:?}");
        assert!(caller.len() > 15 && target.len() > 15, "{} and {} packets came", caller.len(), target.len());
        direct
    }

    /// Both follow what they are asked for.
    async fn released(&mut self) {
        let asked = self.caller.invited().await;
        assert!(asked.ends_with("\r\n\r\n"), "the caller is asked for an offer: {asked}");
        let (offer_to_target, ack) = tokio::join!(
            async {
                let offered = self.target.invited().await;
                self.target.accept(&offered, "sendrecv").await;
                offered
            },
            self.caller.accept(&asked, "sendrecv")
        );
        assert_eq!((place(&offer_to_target), place(&ack)), (self.caller.media(), self.target.media()));
    }

    async fn returned(&mut self) {
        bridge_returns(&mut self.caller, &mut self.target).await;
    }

    async fn reasons(&self) -> Vec<Value> {
        let events = self.server.api.events(&self.call).await;
        let back = events.into_iter().filter(|event| event["type"] == "call.media.returned");
        back.map(|event| event["data"]["reason"].clone()).collect()
    }

    async fn ended(&self, reason: &str) -> Value {
        let call = self.server.api.until(&self.call, |call| call["ended_at"].is_string()).await;
        assert_eq!(call["ended_reason"], reason, "{call:#}");
        call
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_legs_send_to_each_other_and_a_caller_who_is_taken_back_sends_here_again() {
    let mut bridge = bridge("allow").await;
    assert!(!bridge.is_direct().await, "before that the media passes here");
    bridge.released().await;
    let told = bridge.server.api.told(&bridge.call, "call.media.released").await;
    assert!(told["data"]["transfer_id"].is_string());
    assert!(bridge.is_direct().await);
    // Keys by signalling go on by signalling.
    let info = bridge.caller.within("INFO", 40, "Signal=5\r\nDuration=100\r\n");
    let info = info.replace("application/sdp", "application/dtmf-relay");
    assert!(bridge.caller.sip.ask(&info).await.starts_with("SIP/2.0 200"));
    let info = bridge.target.sip.request("INFO").await;
    assert!(info.contains("Signal=5"), "{info}");
    bridge.target.sip.answer(&info, "200 OK", "").await;
    // Nothing comes here for longer than a caller may be silent, and nobody is given up for it.
    tokio::time::sleep(Duration::from_secs(32)).await;
    assert!(bridge.is_direct().await);

    let path = format!("calls/{}/transfer", bridge.call);
    let (server, caller) = (&bridge.server, &mut bridge.caller);
    tokio::join!(server.api.delete(&path), async {
        let offered = caller.invited().await;
        caller.accept(&offered, "sendrecv").await;
    });
    let bye = bridge.target.sip.request("BYE").await;
    bridge.target.sip.answer(&bye, "200 OK", "").await;
    bridge.server.api.told(&bridge.call, "call.media.returned").await;
    assert_eq!(bridge.reasons().await, [json!("taken_back")]);
    let heard = bridge.caller.speak().await;
    assert!(heard.len() > 15 && heard.iter().all(|from| *from == bridge.caller.to), "{heard:?}");
    let bye = bridge.caller.within("BYE", 50, "");
    assert!(bridge.caller.sip.ask(&bye).await.starts_with("SIP/2.0 200"));
    let call = bridge.ended("caller_hung_up").await;
    assert!(call["duration_ms"].as_u64().unwrap() > 32_000, "the call lasted as long as its signalling says: {call:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_target_refuses_the_media_stays_here() {
    let mut bridge = bridge("allow").await;
    let asked = bridge.caller.invited().await;
    let (target, caller) = (&mut bridge.target, &mut bridge.caller);
    let ((), ack) = tokio::join!(
        async {
            let offered = target.invited().await;
            target.sip.answer(&offered, "488 Not Acceptable Here", "").await;
        },
        caller.accept(&asked, "sendrecv")
    );
    assert_ne!(place(&ack), bridge.target.media());
    assert!(!bridge.is_direct().await);
    let events = bridge.server.api.events(&bridge.call).await;
    assert!(!events.iter().any(|event| event["type"].as_str().unwrap().starts_with("call.media.")), "{events:#?}");
    // It is not asked again, and the target's hanging up ends the call as ever.
    let bye = bridge.target.within("BYE", 50, "");
    assert!(bridge.target.sip.ask(&bye).await.starts_with("SIP/2.0 200"));
    let next = loop {
        let next = bridge.caller.sip.next(Duration::from_secs(5)).await.unwrap();
        if !next.starts_with("ACK") {
            break next;
        }
    };
    assert!(next.starts_with("BYE"), "{next}");
    bridge.caller.sip.answer(&next, "200 OK", "").await;
    bridge.ended("transferred").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_listens_has_the_media_come_here_for_as_long() {
    let mut bridge = bridge("allow").await;
    bridge.released().await;
    bridge.server.api.told(&bridge.call, "call.media.released").await;
    let (api, id) = (bridge.server.api.clone(), bridge.call.clone());
    let listener = tokio::spawn(async move { api.listen(&id).await });
    bridge.returned().await;
    bridge.server.api.told(&bridge.call, "call.media.returned").await;
    assert_eq!(bridge.reasons().await, [json!("listen")]);
    assert!(!bridge.is_direct().await);
    listener.abort();
    bridge.released().await;
    assert!(bridge.is_direct().await);
    // The caller hangs up while nothing passes here.
    let bye = bridge.caller.within("BYE", 50, "");
    assert!(bridge.caller.sip.ask(&bye).await.starts_with("SIP/2.0 200"));
    let bye = bridge.target.sip.request("BYE").await;
    bridge.target.sip.answer(&bye, "200 OK", "").await;
    bridge.ended("caller_hung_up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_changes_its_media_has_both_send_here() {
    let mut bridge = bridge("allow").await;
    bridge.released().await;
    bridge.server.api.told(&bridge.call, "call.media.released").await;
    let offer = bridge.target.sdp("sendrecv");
    let reinvite = bridge.target.within("INVITE", 60, &offer);
    let (target, caller) = (&mut bridge.target, &mut bridge.caller);
    tokio::join!(
        async {
            let answer = target.sip.ask(&reinvite).await;
            assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
            target.to = place(&answer);
            target.sip.send(target.within("ACK", 60, "").as_bytes()).await;
        },
        async {
            let offered = caller.invited().await;
            caller.accept(&offered, "sendrecv").await;
        }
    );
    bridge.server.api.told(&bridge.call, "call.media.returned").await;
    assert_eq!(bridge.reasons().await, [json!("reinvite")]);
    assert!(!bridge.is_direct().await);
    // Some seconds later they have it for themselves again, and the target hangs up.
    bridge.released().await;
    assert!(bridge.is_direct().await);
    let bye = bridge.target.within("BYE", 70, "");
    assert!(bridge.target.sip.ask(&bye).await.starts_with("SIP/2.0 200"));
    let bye = bridge.caller.sip.request("BYE").await;
    bridge.caller.sip.answer(&bye, "200 OK", "").await;
    bridge.ended("transferred").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_meets_one_of_the_target_is_made_again_and_one_to_a_third_place_is_not_passed_on() {
    let mut bridge = bridge("allow").await;
    let asked = bridge.caller.invited().await;
    let (target, caller) = (&mut bridge.target, &mut bridge.caller);
    let (_, ack) = tokio::join!(
        async {
            let offered = target.invited().await;
            target.sip.answer(&offered, "491 Request Pending", "").await;
            let offered = target.invited().await;
            target.accept(&offered, "sendrecv").await
        },
        caller.accept(&asked, "sendrecv")
    );
    assert_eq!(place(&ack), bridge.target.media());
    assert!(bridge.is_direct().await);
    // Muted, it comes back; asked again after that, the caller names a place where it has never been.
    let path = format!("calls/{}/mute", bridge.call);
    let (on, off) = (json!({"who": "caller", "on": true}), json!({"who": "caller", "on": false}));
    tokio::join!(bridge_returns(&mut bridge.caller, &mut bridge.target), bridge.server.api.post(&path, &on));
    bridge.server.api.told(&bridge.call, "call.media.returned").await;
    assert_eq!(bridge.reasons().await, [json!("mute")]);
    bridge.server.api.post(&path, &off).await;
    let asked = bridge.caller.invited().await;
    let (home, elsewhere) = (bridge.caller.media(), IpAddr::from([127, 0, 7, 2]));
    bridge.caller.rtp = UdpSocket::bind((elsewhere, home.port())).await.unwrap();
    let ack = bridge.caller.accept(&asked, "sendrecv").await;
    assert_ne!(place(&ack), bridge.target.media(), "the answer is the server's own place");
    bridge.server.api.post(&format!("calls/{}/end", bridge.call), &json!({})).await;
    bridge.ended("api_ended").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_all_media_passes_here() {
    let bridge = bridge("never").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!bridge.is_direct().await);
    while let Some(message) = bridge.caller.sip.next(Duration::from_millis(50)).await {
        assert!(!message.starts_with("INVITE"), "{message}");
    }
    let path = format!("trunks/{}", bridge.server.api.get("trunks").await["data"][0]["id"].as_str().unwrap());
    let wrong = json!({"media": {"release": "sometimes"}});
    assert_eq!(bridge.server.api.refused(Method::PATCH, &path, &wrong).await.0, 400);
    bridge.server.api.post(&format!("calls/{}/end", bridge.call), &json!({})).await;
    bridge.ended("api_ended").await;
}
