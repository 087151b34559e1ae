//! Callers at the door of a node that knows one root, and the fetching of certificates.

use std::sync::atomic::{AtomicUsize, Ordering};

use control_api::Guard;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sip_stack::{Endpoint, EndpointConfig, Event, Flow, Transport};

use super::*;

const URL: &str = "https://cert.example.org/c.pem";
const CALLER: &str = "+12155551212";
const CALLED: &str = "+493012345";

/// A root, a chain below it and its key.
fn made() -> (Anchors, Vec<u8>, Signer) {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let anchors = Anchors::from_pem(root.self_signed(&root_key).unwrap().pem().as_bytes()).unwrap();
    let leaf = CertificateParams::new(Vec::new()).unwrap();
    let chain = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem().into_bytes();
    let signer = Signer::new(key.serialize_pem().as_bytes(), URL, &SystemRandom::new()).unwrap();
    (anchors, chain, signer)
}

/// A node whose certificates come from `answer`, and how often it was asked.
fn node(anchors: Option<Anchors>, signer: Option<Signer>, answer: Option<Vec<u8>>) -> (Stir, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let fetch: Fetch = Arc::new(move |url| {
        count.fetch_add(1, Ordering::Relaxed);
        let answer = answer.clone().filter(|_| url == URL);
        Box::pin(async move { answer })
    });
    (Stir::with(config(&[]), Files { anchors, signer }, fetch), asked)
}

/// A configuration without files.
fn config(hosts: &[&str]) -> config::Stir {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    config::Stir { hosts, freshness_s: 60, ..config::Stir::default() }
}

fn invite(headers: &[(String, String)]) -> Invite {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = format!(
        "INVITE sip:{CALLED}@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:{CALLER}@c.example>;tag=a\r\nTo: <sip:{CALLED}@192.0.2.10>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:a@192.0.2.1>\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    let mut endpoint = Endpoint::new(EndpointConfig::default(), 1);
    let flow = Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 10], 5060).into(),
        remote: ([192, 0, 2, 1], 5060).into(),
        connection: 0,
    };
    endpoint.handle_receive(Instant::now(), flow, text.as_bytes());
    match endpoint.poll_event() {
        Some(Event::Incoming { invite, .. }) => *invite,
        other => panic!("{other:?}"),
    }
}

fn signed(verify: StirVerify) -> Signed {
    Signed { verify, orig: CALLER.parse().ok(), dest: vec![CALLED.parse().unwrap()] }
}

fn signature(vouched: Vouched) -> Signature {
    Signature { orig: CALLER.parse().unwrap(), dest: CALLED.parse().unwrap(), vouched }
}

const ORIGIN: &str = "0193481e-7a10-7000-8000-0000000000c1";

/// What is on record, and the status of the refusal.
async fn judged(stir: &Stir, invite: &Invite, verify: StirVerify) -> (Option<&'static str>, Option<u16>) {
    let judged = stir.judge(invite, &signed(verify)).await;
    (judged.verified, judged.refusal.map(|refusal| refusal.status))
}

#[tokio::test]
async fn what_we_sign_is_recorded_and_required_as_the_trunk_says() {
    let (anchors, chain, signer) = made();
    let (stir, asked) = node(Some(anchors), Some(signer), Some(chain));
    for (vouched, letter, for_a, for_b) in [
        (Vouched::Number, "A", None, None),
        (Vouched::Customer, "B", Some(403), None),
        (Vouched::Nothing, "C", Some(403), Some(403)),
    ] {
        let invite = invite(&stir.sign(&signature(vouched), ORIGIN));
        assert_eq!(judged(&stir, &invite, StirVerify::Off).await, (None, None));
        assert_eq!(judged(&stir, &invite, StirVerify::Record).await, (Some(letter), None));
        assert_eq!(judged(&stir, &invite, StirVerify::RequireA).await, (Some(letter), for_a));
        assert_eq!(judged(&stir, &invite, StirVerify::RequireB).await, (Some(letter), for_b));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "a certificate is fetched once");
}

#[tokio::test]
async fn faults_are_recorded_and_refused_with_the_statuses_of_rfc_8224() {
    let (anchors, chain, signer) = made();
    let (other, ..) = made();
    let (stir, _) = node(Some(anchors.clone()), Some(signer), Some(chain.clone()));
    let plain = invite(&[]);
    let fine = invite(&stir.sign(&signature(Vouched::Number), ORIGIN));
    let mut broken = stir.sign(&signature(Vouched::Number), ORIGIN);
    broken[1].1.insert(5, 'x');
    let broken = invite(&broken);
    let elsewhere = Signature { orig: "+12155551213".parse().unwrap(), ..signature(Vouched::Number) };
    let elsewhere = invite(&stir.sign(&elsewhere, ORIGIN));
    let (unreachable, asked) = node(Some(anchors), None, None);
    let (stranger, _) = node(Some(other), None, Some(chain));
    for (stir, invite, word, status) in [
        (&stir, &plain, "none", 428),
        (&stir, &broken, "failed", 438),
        (&stir, &elsewhere, "failed", 438),
        (&unreachable, &fine, "failed", 436),
        (&stranger, &fine, "failed", 437),
    ] {
        assert_eq!(judged(stir, invite, StirVerify::Record).await, (Some(word), None), "{status}");
        assert_eq!(judged(stir, invite, StirVerify::RequireB).await, (Some(word), Some(status)));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "what is not there is not asked for again at once");
}

#[tokio::test]
async fn without_anchors_nothing_is_claimed_and_nothing_required_passes() {
    let (_, chain, signer) = made();
    let (stir, asked) = node(None, Some(signer), Some(chain));
    let invite = invite(&stir.sign(&signature(Vouched::Number), ORIGIN));
    assert_eq!(judged(&stir, &invite, StirVerify::Record).await, (None, None));
    assert_eq!(judged(&stir, &invite, StirVerify::RequireB).await, (None, Some(437)));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert!(node(None, None, None).0.sign(&signature(Vouched::Number), ORIGIN).is_empty(), "no key, no signature");
}

#[tokio::test]
async fn no_call_waits_longer_than_two_seconds() {
    let (anchors, _, signer) = made();
    let never: Fetch = Arc::new(|_| Box::pin(std::future::pending()));
    let stir = Stir::with(config(&[]), Files { anchors: Some(anchors), signer: Some(signer) }, never);
    let invite = invite(&stir.sign(&signature(Vouched::Number), ORIGIN));
    let began = Instant::now();
    assert_eq!(judged(&stir, &invite, StirVerify::RequireA).await, (Some("failed"), Some(436)));
    let waited = began.elapsed();
    assert!((PATIENCE..PATIENCE * 2).contains(&waited), "{waited:?}");
    assert_eq!(judged(&stir, &invite, StirVerify::RequireA).await, (Some("failed"), Some(436)));
    assert!(began.elapsed() < waited + PATIENCE / 2, "nor do the next ones wait for the same");
}

#[tokio::test]
async fn only_hosts_that_are_named_are_asked() {
    let (anchors, chain, signer) = made();
    let fetch: Fetch = Arc::new(move |_| {
        let chain = chain.clone();
        Box::pin(async move { Some(chain) })
    });
    let with = |hosts: &[&str]| {
        Stir::with(config(hosts), Files { anchors: Some(anchors.clone()), signer: None }, fetch.clone())
    };
    let (signing, _) = node(None, Some(signer), None);
    let invite = invite(&signing.sign(&signature(Vouched::Number), ORIGIN));
    assert_eq!(judged(&with(&["cert.example.org"]), &invite, StirVerify::Record).await.0, Some("A"));
    assert_eq!(judged(&with(&["example.org"]), &invite, StirVerify::Record).await.0, Some("failed"));
}

#[tokio::test]
async fn certificates_come_whole_small_and_from_where_we_may_ask() {
    let app = axum::Router::new()
        .route("/good", axum::routing::get(|| async { "chain" }))
        .route("/moved", axum::routing::get(|| async { axum::response::Redirect::to("/good") }))
        .route("/large", axum::routing::get(|| async { "x".repeat(LARGEST + 1) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    let near = Outward::new(Guard::new(true)).unwrap();
    assert_eq!(fetch(&near, &format!("http://{at}/good")).await.as_deref(), Some(&b"chain"[..]));
    for path in ["moved", "large", "nothing"] {
        assert_eq!(fetch(&near, &format!("http://{at}/{path}")).await, None, "{path}");
    }
    let far = Outward::new(Guard::new(false)).unwrap();
    for url in [
        format!("http://{at}/good"),
        format!("https://{at}/good"),
        "https://169.254.169.254/".into(),
        "file:///etc/passwd".into(),
    ] {
        assert_eq!(fetch(&far, &url).await, None, "{url}");
    }
}

#[tokio::test]
async fn anchors_and_key_are_read_again_and_what_cannot_be_used_changes_nothing() {
    let dir = std::env::temp_dir().join(format!("sidetone-stir-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (roots, key) = (dir.join("roots.pem"), dir.join("key.pem"));
    // Two houses, a root and a key each; the fetched chain is always that of the house that signs.
    let houses = [0, 1].map(|_| {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let anchor = root.self_signed(&root_key).unwrap().pem();
        let leaf = CertificateParams::new(Vec::new()).unwrap();
        let chain = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem();
        (anchor, key.serialize_pem(), chain)
    });
    let write = |(anchor, signer, _): &(String, String, String)| {
        std::fs::write(&roots, anchor).unwrap();
        std::fs::write(&key, signer).unwrap();
    };
    let served = Arc::new(Mutex::new(houses[0].2.clone()));
    let fetch: Fetch = {
        let served = served.clone();
        Arc::new(move |_| {
            let chain = served.lock().unwrap().clone().into_bytes();
            Box::pin(async move { Some(chain) })
        })
    };
    write(&houses[0]);
    let told =
        config::Stir { trust_anchors: roots.clone(), key: key.clone(), certificate_url: URL.into(), ..config(&[]) };
    let stir = Stir::with(told.clone(), Files::read(&told, &SystemRandom::new()).unwrap(), fetch);
    let calls = || invite(&stir.sign(&signature(Vouched::Number), ORIGIN));
    let first = calls();
    assert_eq!(judged(&stir, &first, StirVerify::RequireA).await, (Some("A"), None));

    // Roots, key and the chain at the URL are changed together, as an operator renews them.
    write(&houses[1]);
    *served.lock().unwrap() = houses[1].2.clone();
    assert_eq!(judged(&stir, &calls(), StirVerify::RequireA).await, (Some("A"), None), "nothing was read yet");
    stir.reload().unwrap();
    assert_eq!(judged(&stir, &calls(), StirVerify::RequireA).await, (Some("A"), None));
    assert_eq!(judged(&stir, &first, StirVerify::RequireA).await.0, Some("failed"), "the old key is nobody's now");

    for (path, told) in [(&roots, "stir.trust_anchors"), (&key, "stir.key")] {
        write(&houses[0]);
        std::fs::write(path, "nonsense").unwrap();
        let error = stir.reload().unwrap_err();
        assert!(error.contains(told), "{error}");
        assert_eq!(judged(&stir, &calls(), StirVerify::RequireA).await, (Some("A"), None), "both stay as they were");
    }
    let _ = std::fs::remove_dir_all(dir);
}
