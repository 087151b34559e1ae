//! Sums as the RFCs print them, and what an attacker may try.

use std::time::{Duration, Instant};

use super::*;

fn authorization(algorithm: Algorithm, cnonce: &str, nonce: &str) -> Authorization {
    Authorization {
        username: "Mufasa".into(),
        realm: "http-auth@example.org".into(),
        nonce: nonce.into(),
        uri: "/dir/index.html".into(),
        response: String::new(),
        algorithm,
        count: Some((cnonce.into(), 1)),
        opaque: None,
    }
}

#[test]
fn the_sums_are_those_of_rfc_7616() {
    let (cnonce, nonce) =
        ("f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v");
    for (algorithm, response) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let authorization = authorization(algorithm, cnonce, nonce);
        let ha1 = algorithm.ha1("Mufasa", "http-auth@example.org", "Circle of Life");
        assert_eq!(authorization.expected(&ha1, "GET"), response);
    }
}

#[test]
fn without_qop_the_sum_is_that_of_rfc_2069() {
    let authorization = Authorization {
        username: "bob".into(),
        realm: "biloxi.com".into(),
        nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093".into(),
        uri: "sip:bob@biloxi.com".into(),
        response: String::new(),
        algorithm: Algorithm::Md5,
        count: None,
        opaque: None,
    };
    // The example of the SIP digest drafts (draft-smith-sip-auth-examples §3.1).
    let ha1 = Algorithm::Md5.ha1("bob", "biloxi.com", "zanzibar");
    assert_eq!(ha1, "12af60467a33e8518da5c68bbff12b11");
    assert_eq!(authorization.expected(&ha1, "INVITE"), "bf57e4e0d0bffc0fbaedce64d59add5e");
}

#[test]
fn headers_are_read_as_they_are_printed() {
    let challenge = Challenge {
        realm: "a \"quoted\" realm, with a comma".into(),
        nonce: "n\\1".into(),
        opaque: Some(String::new()),
        algorithm: Algorithm::Sha512_256,
        qop: true,
        stale: true,
    };
    assert_eq!(Challenge::parse(&challenge.to_string()), Some(challenge));
    let mut authorization = authorization(Algorithm::Sha256, "c", "n");
    authorization.response = "ab".into();
    assert_eq!(Authorization::parse(&authorization.to_string()), Some(authorization));
}

#[test]
fn what_is_not_ours_is_not_a_challenge() {
    for value in [
        "Basic realm=\"x\"",
        "Digest realm=\"x\"",
        "Digest realm=\"x\", nonce=\"1\", algorithm=MD5-sess",
        "Digest realm=\"x\", nonce=\"1\", qop=\"auth-int\"",
        "Digest realm=\"x\", nonce=\"1\", nonce=\"2\"",
        "Digest",
        "",
    ] {
        assert_eq!(Challenge::parse(value), None, "{value}");
    }
    let plain = Challenge::parse("digest Realm=x , NONCE = \"1\", qop=\"auth-int,auth\"").unwrap();
    assert_eq!((plain.algorithm, plain.qop, plain.realm.as_str()), (Algorithm::Md5, true, "x"));
}

#[allow(clippy::disallowed_methods, reason = "an Instant can be had in no other way")]
fn server() -> (Authenticator, Instant) {
    let now = Instant::now();
    (Authenticator::new(now, [7; 32], Duration::from_secs(60)), now)
}

fn answer(challenge: &Challenge, password: &str, count: u32) -> Authorization {
    let mut authorization = Authorization {
        username: "alice".into(),
        realm: challenge.realm.clone(),
        nonce: challenge.nonce.clone(),
        uri: "sip:b@c".into(),
        response: String::new(),
        algorithm: challenge.algorithm,
        count: Some(("c".into(), count)),
        opaque: None,
    };
    let ha1 = challenge.algorithm.ha1("alice", &challenge.realm, password);
    authorization.response = authorization.expected(&ha1, "INVITE");
    authorization
}

#[test]
fn the_right_password_passes_once_for_each_count() {
    let (mut server, now) = server();
    let source = "192.0.2.1".parse().unwrap();
    for challenge in server.challenge(now, "r", source, false) {
        let mut verify = |count| {
            let authorization = answer(&challenge, "secret", count);
            server.verify(now, source, "INVITE", &authorization, Secret::Password("secret"))
        };
        // The three algorithms share the nonce, so each begins where the one before ended.
        let first = match challenge.algorithm {
            Algorithm::Sha512_256 => 1,
            Algorithm::Sha256 => 101,
            Algorithm::Md5 => 201,
        };
        assert_eq!(verify(first), Ok(()));
        assert_eq!(verify(first), Err(Denied::Replayed));
        assert_eq!(verify(first + 3), Ok(()));
        assert_eq!(verify(first + 2), Ok(()), "one that was overtaken");
        assert_eq!(verify(first + 2), Err(Denied::Replayed));
        assert_eq!(verify(first + 70), Ok(()));
        assert_eq!(verify(first + 1), Err(Denied::Replayed), "too far behind to be told");
        assert_eq!(verify(0), Err(Denied::Replayed));
    }
}

#[test]
fn what_is_wrong_old_or_from_elsewhere_is_denied() {
    let (mut server, now) = server();
    let source = "192.0.2.1".parse().unwrap();
    let challenge = server.challenge(now, "r", source, false).remove(1);
    let good = answer(&challenge, "secret", 1);
    let secret = Secret::Password("secret");
    let mut verify = |at, from: &str, method, authorization: &Authorization, secret| {
        server.verify(at, from.parse().unwrap(), method, authorization, secret)
    };
    assert_eq!(verify(now, "192.0.2.1", "INVITE", &answer(&challenge, "guess", 1), secret), Err(Denied::Wrong));
    assert_eq!(verify(now, "192.0.2.1", "BYE", &good, secret), Err(Denied::Wrong));
    assert_eq!(verify(now, "192.0.2.2", "INVITE", &good, secret), Err(Denied::Stale), "a nonce belongs to its source");
    assert_eq!(verify(now + Duration::from_secs(61), "192.0.2.1", "INVITE", &good, secret), Err(Denied::Stale));
    let forged = answer(&Challenge { nonce: "0".repeat(52), ..challenge.clone() }, "secret", 1);
    assert_eq!(verify(now, "192.0.2.1", "INVITE", &forged, secret), Err(Denied::Stale));
    let short = answer(&Challenge { nonce: "é".repeat(3), ..challenge.clone() }, "secret", 1);
    assert_eq!(verify(now, "192.0.2.1", "INVITE", &short, secret), Err(Denied::Stale));
    let uncounted = Authorization { count: None, ..good.clone() };
    assert_eq!(verify(now, "192.0.2.1", "INVITE", &uncounted, secret), Err(Denied::Wrong));
    let ha1 = Algorithm::Sha256.ha1("alice", "r", "secret");
    assert_eq!(verify(now, "192.0.2.1", "INVITE", &good, Secret::Ha1(Algorithm::Sha256, &ha1)), Ok(()));
    assert_eq!(verify(now, "192.0.2.1", "INVITE", &good, Secret::Ha1(Algorithm::Md5, &ha1)), Err(Denied::Wrong));
}
