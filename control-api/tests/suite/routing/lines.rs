//! Trunks as the SIP side knows them: their secrets, who must prove himself, where names lead, and what was seen.

use std::{collections::HashMap, time::Duration};

use control_api::{Identity, NodeKey, Refused, Sighting, Signed, StirVerify, StoreDirectory};
use domain::TrunkId;
use serde_json::{Value, json};

use super::rows::{agent, answered, arrival, directory, number, tenant, trunk};
use crate::{
    db::{Db, on_both},
    fake::Client,
    invariants,
};

const TRUNKS: &str = "/api/v1/trunks";

/// Makes a trunk over HTTP, so that its secrets are sealed and its gateways have rows.
async fn made(client: &Client, document: Value) -> TrunkId {
    let made = client.post(TRUNKS, document).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["id"].as_str().unwrap().parse().unwrap()
}

/// A directory with the key of [`Client`].
async fn unsealed(db: &Db) -> StoreDirectory {
    let key = NodeKey::from_bytes(&[7; 32]).unwrap();
    StoreDirectory::open(db.store.clone(), vec!["127.0.0.0/8".parse().unwrap()], Some(key)).await.unwrap()
}

on_both! {
    async fn a_trunk_is_known_with_its_login_its_registration_and_its_gateways(db) {
        let client = Client::new(&db);
        let id = made(&client, json!({"name": "carrier", "gateways": [{"host": "sip.carrier.example", "transport": "tcp"}, {"host": "8.8.8.8", "port": 5080, "outbound": false}],
            "auth": {"outbound": {"username": "us", "password": "secret", "realm": "carrier"}},
            "register": {"enabled": true, "registrar": "sip:carrier.example", "aor": "sip:us@carrier.example", "expires_s": 600},
            "sip": {"options_ping_s": 20}})).await;
        made(&client, json!({"name": "off", "enabled": false, "gateways": [{"host": "9.9.9.9"}]})).await;
        let lines = unsealed(&db).await.lines().await;
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let login = line.login.as_ref().unwrap();
        assert_eq!((login.username.as_str(), login.password.as_str(), login.realm.as_deref()), ("us", "secret", Some("carrier")));
        assert!(!format!("{line:?}").contains("secret"));
        let binding = line.binding.as_ref().unwrap();
        assert_eq!((binding.registrar.as_str(), binding.expires, line.ping_every), ("sip:carrier.example", Duration::from_secs(600), Some(Duration::from_secs(20))));
        assert!(binding.contact_user.len() > 12, "nobody else's");
        let gates: Vec<_> = line.gateways.iter().map(|gate| (gate.host.as_str(), gate.port, gate.outbound, gate.inbound_by_name)).collect();
        assert_eq!(gates, [("sip.carrier.example", None, true, true), ("8.8.8.8", Some(5080), false, false)]);
        assert!(line.gateways.iter().all(|gate| !gate.id.is_empty()) && line.gateways[0].id != line.gateways[1].id);
        // With another key the trunk goes on without its password.
        let other = NodeKey::from_bytes(&[8; 32]).unwrap();
        let sealed = StoreDirectory::open(db.store.clone(), Vec::new(), Some(other)).await.unwrap();
        assert!(sealed.lines().await[0].login.is_none());
        assert_eq!(line.id, id);
    }

    async fn who_must_show_a_password_is_asked_and_let_in_with_it(db) {
        let client = Client::new(&db);
        let desk = agent(&db, db.tenant, "desk", 1).await;
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({})).await;
        let password = |mode: &str, user: &str| json!({"inbound": {"mode": mode, "username": user, "password": format!("{user}-secret")}});
        let both = made(&client, json!({"name": "both", "gateways": [{"host": "8.8.8.8"}], "auth": password("ip_and_digest", "both")})).await;
        let directory = unsealed(&db).await;
        let call = async |source: &str, proven: Option<TrunkId>| {
            let mut call = arrival(source, "+12125550123", "sip:x@y");
            call.proven = proven;
            directory.route(&call).await
        };
        assert_eq!(call("8.8.8.8", None).await.unwrap_err(), Refused::Unproven);
        assert_eq!(answered(call("8.8.8.8", Some(both)).await), "desk 1");
        assert!(call("9.9.9.9", Some(both)).await.unwrap().is_none(), "the password is good at its address only");
        assert!(call("9.9.9.9", None).await.unwrap().is_none(), "nobody may come from there");
        let roaming = made(&client, json!({"name": "roaming", "auth": password("digest", "roaming")})).await;
        directory.look().await.unwrap();
        assert_eq!(call("9.9.9.9", None).await.unwrap_err(), Refused::Unproven, "strangers are asked alike");
        assert_eq!(answered(call("9.9.9.9", Some(roaming)).await), "desk 1");
        assert_eq!(directory.logins("roaming").await, [(roaming, "roaming-secret".to_owned())]);
        assert!(directory.logins("nobody").await.is_empty());
        assert_eq!(Refused::Unproven.sip_status(), 401);
    }

    async fn a_registered_trunk_is_called_at_its_contact_and_the_number_stands_in_to(db) {
        let client = Client::new(&db);
        let (desk, night) = (agent(&db, db.tenant, "desk", 1).await, agent(&db, db.tenant, "night", 1).await);
        let other = tenant(&db, "other").await;
        let registered = |default: Option<&str>| {
            let mut document = json!({"name": "carrier", "gateways": [{"host": "sip.carrier.example"}],
                "register": {"enabled": true, "registrar": "sip:carrier.example", "aor": "sip:us@carrier.example"}});
            if let Some(agent) = default {
                document["default"] = json!({"kind": "agent", "agent_id": agent});
            }
            document
        };
        let ours = made(&client, registered(Some(&night.to_string()))).await;
        let theirs: TrunkId = trunk(&db, Some(other), registered(None)).await.parse().unwrap();
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({})).await;
        let directory = unsealed(&db).await;
        let contact = |id: TrunkId| {
            let directory = directory.clone();
            async move { directory.lines().await.into_iter().find(|line| line.id == id).unwrap().binding.unwrap().contact_user }
        };
        let (our_contact, their_contact) = (contact(ours).await, contact(theirs).await);
        let call = async |to: &str, meant: &str| {
            let mut call = arrival("203.0.113.9", to, "sip:x@y");
            call.headers.push(("To".into(), format!("<sip:{meant}@carrier.example>")));
            directory.route(&call).await
        };
        assert!(call("+12125550123", "+12125550123").await.unwrap().is_none(), "until names were looked up it is a stranger");
        // The address is the carrier's for all its customers.
        let learned = [ours, theirs].map(|id| (id, vec!["203.0.113.9".parse().unwrap()]));
        directory.learn(HashMap::from(learned));
        assert_eq!(answered(call("+12125550123", "+12125550123").await), "desk 1");
        assert_eq!(answered(call(&our_contact, "+12125550123").await), "desk 1");
        assert_eq!(answered(call(&our_contact, "somebody").await), "night 1", "the default of the trunk that was called");
        let crossed = call(&their_contact, "+12125550123").await;
        assert_eq!(crossed.unwrap_err(), Refused::UnknownNumber, "nobody's registration leads to another tenant's number");
        assert_eq!(call(&their_contact, "somebody").await.unwrap_err(), Refused::UnknownNumber);
        assert_eq!(call("somebody", "somebody").await.unwrap_err(), Refused::UnknownNumber, "whose rules should count?");
    }

    async fn a_signature_is_asked_for_the_number_that_the_trunk_goes_by(db) {
        let desk = agent(&db, db.tenant, "desk", 1).await;
        for (n, identity) in [json!({}), json!({"caller_id": "number", "stir": {"verify": "require_A"}}), json!({"stir": {"verify": "off"}})].into_iter().enumerate() {
            trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": format!("198.51.100.{n}")}], "identity": identity})).await;
        }
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({})).await;
        let directory = directory(&db).await;
        let signed = async |source: &str, private: bool| {
            let mut call = arrival(source, "+12125550123", "sip:4155550100@x");
            call.identity = Identity { asserted: Some("+14155550199".to_owned().into()), private, diverted_from: None };
            call.headers.push(("To".into(), "<sip:2125550177@carrier.example>".into()));
            directory.route(&call).await.unwrap().unwrap().signed
        };
        let expected = |verify, orig: &str| {
            let dest = ["+12125550177", "+12125550123"].map(|number| number.parse().unwrap()).into();
            Some(Signed { verify, orig: orig.parse().ok(), dest })
        };
        assert_eq!(signed("198.51.100.0", false).await, expected(StirVerify::Record, "+14155550199"));
        assert_eq!(signed("198.51.100.0", true).await, expected(StirVerify::Record, "+14155550199"), "hidden, not unknown");
        assert_eq!(signed("198.51.100.1", false).await, expected(StirVerify::RequireA, "+14155550100"));
        assert_eq!(signed("198.51.100.2", false).await, None);
    }

    async fn a_caller_who_wishes_not_to_be_named_is_not_and_diversions_are_told(db) {
        let desk = agent(&db, db.tenant, "desk", 1).await;
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        trunk(&db, Some(db.tenant), json!({"name": "open", "gateways": [{"host": "198.51.100.8"}], "identity": {"privacy_honour": false}})).await;
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({})).await;
        let directory = directory(&db).await;
        let call = async |source: &str| {
            let mut call = arrival(source, "+12125550123", "sip:+14155550100@x");
            call.identity = Identity { asserted: Some("+14155550199".to_owned().into()), private: true, diverted_from: Some("2125550177".to_owned().into()) };
            directory.route(&call).await.unwrap().unwrap()
        };
        let withheld = call("198.51.100.7").await;
        assert_eq!((withheld.withheld, withheld.from), (true, None));
        assert_eq!(json!(withheld.variables), json!({"diverted_from": "+12125550177"}));
        let told = call("198.51.100.8").await;
        assert_eq!((told.withheld, told.from.unwrap().as_str()), (false, "+14155550199"));
    }

    async fn what_is_seen_is_shown_and_changes_are_events(db) {
        let client = Client::new(&db);
        let id = made(&client, json!({"name": "carrier", "gateways": [{"host": "sip.carrier.example"}]})).await;
        let directory = unsealed(&db).await;
        let line = directory.lines().await.remove(0);
        let seen = |gateway: Option<String>, up: bool, changed: bool| Sighting {
            trunk: id,
            tenant: line.tenant,
            gateway,
            host: "sip.carrier.example".into(),
            up,
            detail: (!up).then(|| "no answer".into()),
            sip_status: Some(if up { 200 } else { 408 }),
            rtt: up.then_some(Duration::from_millis(12)),
            registered_until_ms: Some(1_900_000_000_000).filter(|_| up),
            changed,
        };
        let gate = Some(line.gateways[0].id.clone());
        directory.saw("n1", &[seen(gate.clone(), true, false), seen(None, true, true)]).await.unwrap();
        let status = client.get(&format!("{TRUNKS}/{id}/status")).await.json();
        assert_eq!((&status["state"], &status["gateways"][0]["last_sip_status"], &status["gateways"][0]["rtt_ms"]), (&json!("up"), &json!(200), &json!(12)));
        assert_eq!((&status["gateways"][1]["host"], status["gateways"][1]["registered_until"].is_string()), (&json!("registrar"), true));
        directory.saw("n1", &[seen(gate, false, true), seen(None, false, true)]).await.unwrap();
        let status = client.get(&format!("{TRUNKS}/{id}/status")).await.json();
        assert_eq!((&status["state"], &status["last_error"]), (&json!("down"), &json!("no answer")));
        let told: Vec<String> = sqlx::query_scalar("SELECT type FROM events ORDER BY created_at, type").fetch_all(&db.raw).await.unwrap();
        assert_eq!(told.iter().filter(|kind| kind.starts_with("trunk.")).count(), 3, "{told:?}");
        assert!(["trunk.registered", "trunk.down", "trunk.registration_failed"].iter().all(|kind| told.contains(&(*kind).to_owned())), "{told:?}");
        // Without a registration nothing is said of a registrar any more, and a trunk that is gone is not written about.
        directory.lost_sight("n1", id, true).await.unwrap();
        assert_eq!(client.get(&format!("{TRUNKS}/{id}/status")).await.json()["gateways"].as_array().unwrap().len(), 1);
        client.delete(&format!("{TRUNKS}/{id}")).await;
        directory.saw("n2", &[seen(None, true, false)]).await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM trunk_status WHERE node_id = 'n2'").await, 0);
        invariants::hold(&db).await;
    }
}
