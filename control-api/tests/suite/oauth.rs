//! Sign-in through others, against a provider that checks and that can lie.

use std::sync::Arc;

use control_api::{AuthSettings, Hub, OauthProvider, Settings};
use serde_json::json;
use vendor_sim::{OIDC_CLIENT, Oidc, OidcLie, OidcPerson};

use crate::{
    db::{Db, on_both},
    fake::{Answer, Client},
    invariants,
    person::{Person, settings},
};

fn someone(email: &str) -> OidcPerson {
    OidcPerson {
        subject: format!("sub-{email}"),
        email: email.into(),
        email_verified: true,
        name: "Janet Smith".into(),
    }
}

async fn world(db: &Db) -> (Oidc, Arc<Client>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let oidc = Oidc::start(someone("janet@example.com")).await.unwrap();
    let client = |base: &str| OauthProvider {
        client_id: OIDC_CLIENT.0.into(),
        client_secret: OIDC_CLIENT.1.into(),
        issuer: base.into(),
        ..OauthProvider::default()
    };
    let github = OauthProvider {
        authorize_url: format!("{}/authorize", oidc.base()),
        token_url: format!("{}/token", oidc.base()),
        userinfo_url: format!("{}/user", oidc.base()),
        ..client("")
    };
    let providers = [("google".to_owned(), client(oidc.base())), ("github".to_owned(), github)].into();
    let auth = AuthSettings { providers, ..settings().auth };
    (oidc, Arc::new(Client::with(db, &Hub::new(0), Settings { auth, ..Settings::default() })))
}

/// The browser goes to the provider and comes back; what our callback answers.
async fn there_and_back(person: &Person, provider: &str) -> Answer {
    let start = person.get(&format!("/api/v1/auth/oauth/{provider}?redirect=/welcome")).await;
    assert_eq!(start.status, 302, "{}", start.text());
    let cookie = start.header("set-cookie").split(';').next().unwrap().to_owned();
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let back = browser.get(start.header("location")).send().await.unwrap();
    let location = back.headers()["location"].to_str().unwrap().to_owned();
    let path = location.strip_prefix("http://127.0.0.1:8080").unwrap();
    person.send_with("GET", path, None, &[("cookie", &cookie)]).await
}

async fn signed_in(person: &mut Person, callback: &Answer) {
    assert_eq!(callback.status, 302, "{}", callback.text());
    let code = callback.header("location").strip_prefix("/welcome?code=").unwrap().to_owned();
    let answer = person.post("/api/v1/auth/oauth/exchange", json!({"code": code})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    person.id = answer.json()["user"]["id"].as_str().unwrap().into();
    person.holds(&answer.json()["tokens"]);
    assert_eq!(person.post("/api/v1/auth/oauth/exchange", json!({"code": code})).await.error().1, "token_invalid");
}

on_both! {
    async fn a_newcomer_signs_in_through_a_provider_and_is_known_the_next_time(db) {
        let (_oidc, node) = world(&db).await;
        let mut janet = Person::stranger(&node);
        let callback = there_and_back(&janet, "google").await;
        signed_in(&mut janet, &callback).await;
        assert_eq!(janet.get("/api/v1/calls").await.status, 200);
        let mut again = Person::stranger(&node);
        let callback = there_and_back(&again, "google").await;
        signed_in(&mut again, &callback).await;
        assert_eq!((again.id, db.number("SELECT COUNT(*) FROM oauth_identities").await), (janet.id.clone(), 1));
        // The same proven address at another provider is the same user.
        let mut third = Person::stranger(&node);
        let callback = there_and_back(&third, "github").await;
        signed_in(&mut third, &callback).await;
        assert_eq!((third.id, db.number("SELECT COUNT(*) FROM oauth_identities").await), (janet.id, 2));
        invariants::hold(&db).await;
    }

    async fn a_provider_that_lies_signs_nobody_in(db) {
        let (oidc, node) = world(&db).await;
        for lie in [OidcLie::Nonce, OidcLie::Audience, OidcLie::Issuer, OidcLie::Expired, OidcLie::AlgNone, OidcLie::Altered] {
            oidc.next(someone("janet@example.com"), lie);
            let answer = there_and_back(&Person::stranger(&node), "google").await;
            assert_eq!(answer.error(), (400, "oauth_refused".into(), None), "{lie:?}");
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM users WHERE email_key = 'janet@example.com'").await, 0);
    }

    async fn an_account_is_linked_only_by_an_address_that_the_provider_calls_proven(db) {
        let (oidc, node) = world(&db).await;
        let janet = Person::registered(&node, "janet@example.com").await;
        oidc.next(OidcPerson { email_verified: false, ..someone("janet@example.com") }, OidcLie::None);
        for provider in ["google", "github"] {
            assert_eq!(there_and_back(&Person::stranger(&node), provider).await.error().1, "email_unverified");
        }
        // Proven there and never proven here: whoever registered it here loses it.
        oidc.next(someone("janet@example.com"), OidcLie::None);
        let mut real = Person::stranger(&node);
        let callback = there_and_back(&real, "google").await;
        signed_in(&mut real, &callback).await;
        assert_eq!(real.id, janet.id);
        assert_eq!(janet.get("/api/v1/calls").await.error().0, 401);
        assert_eq!(Person::stranger(&node).login("janet@example.com", crate::person::PASSWORD).await.error().0, 401);
    }

    async fn a_state_belongs_to_its_browser_and_works_once(db) {
        let (_oidc, node) = world(&db).await;
        let janet = Person::stranger(&node);
        let start = janet.get("/api/v1/auth/oauth/google").await;
        let location = start.header("location").to_owned();
        let url = reqwest::Url::parse(&location).unwrap();
        let of = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!((of("code_challenge_method"), of("code_challenge").len(), of("nonce").len()), ("S256".into(), 43, 43));
        let path = format!("/api/v1/auth/oauth/google/callback?code=x&state={}", of("state"));
        // A link that somebody else began: no cookie.
        assert_eq!(janet.get(&path).await.error(), (400, "oauth_state".into(), Some("state".into())));
        let cookie = start.header("set-cookie").split(';').next().unwrap().to_owned();
        assert_eq!(janet.send_with("GET", &path, None, &[("cookie", &cookie)]).await.error().1, "oauth_state");
        for bad in ["/api/v1/auth/oauth/google/callback", "/api/v1/auth/oauth/google/callback?state=os_x&code=y"] {
            assert_eq!(janet.get(bad).await.error().1, "oauth_state");
        }
        assert_eq!(janet.get("/api/v1/auth/oauth/myspace").await.error(), (404, "unknown_provider".into(), None));
        assert_eq!(janet.get("/api/v1/auth/oauth/google?redirect=//evil.example").await.error().2.as_deref(), Some("redirect"));
    }

    async fn a_provider_that_is_down_is_named_as_such(db) {
        let (oidc, node) = world(&db).await;
        drop(oidc);
        tokio::task::yield_now().await;
        let answer = Person::stranger(&node).get("/api/v1/auth/oauth/google").await;
        assert_eq!((answer.error().0, answer.error().1), (502, "vendor_failed".into()));
    }
}
