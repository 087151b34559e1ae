//! Source address → trunk → number, rule or default → agent and version.

use control_api::Refused;
use serde_json::json;

use super::rows::{agent, answered, arrival, directory, number, rule, tenant, trunk};
use crate::db::on_both;

on_both! {
    async fn a_number_is_answered_by_its_agent_in_the_newest_version_or_the_one_it_names(db) {
        let desk = agent(&db, db.tenant, "desk", 3).await;
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({})).await;
        number(&db, db.tenant, "+12125550124", None, None, json!({"agents": [{"agent_id": desk, "version": 2}]})).await;
        let directory = directory(&db).await;
        // However the carrier writes it.
        for to in ["+12125550123", "12125550123", "2125550123", "+12125550123;phone-context=x"] {
            let route = directory.route(&arrival("198.51.100.7", to, "sip:+14155550100@198.51.100.7")).await.unwrap().unwrap();
            assert_eq!((route.agent.name.as_str(), route.agent_id, route.agent_version), ("desk 3", Some(desk), Some(3)));
            assert_eq!(route.to.unwrap().as_str(), "+12125550123");
            assert_eq!(route.from.unwrap().as_str(), "+14155550100");
            assert!(route.number.is_some() && route.trunk.is_some());
            assert_eq!((route.bounds.trunk_calls, route.bounds.trunk_cps), (Some(30), Some(5)));
        }
        assert_eq!(answered(directory.route(&arrival("198.51.100.7", "+12125550124", "sip:x@y")).await), "desk 2");
    }

    async fn strangers_and_unknown_numbers_are_told_apart_only_inside(db) {
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        let directory = directory(&db).await;
        assert!(directory.route(&arrival("198.51.100.8", "+12125550123", "sip:x@y")).await.unwrap().is_none());
        let unknown = directory.route(&arrival("198.51.100.7", "+12125550123", "sip:x@y")).await.unwrap_err();
        assert_eq!(unknown, Refused::UnknownNumber);
        assert_eq!(unknown.sip_status(), Refused::UnknownSource.sip_status());
    }

    async fn the_number_of_one_tenant_is_not_answered_on_the_trunk_of_another(db) {
        let other = tenant(&db, "other").await;
        let desk = agent(&db, other, "other", 1).await;
        trunk(&db, Some(db.tenant), json!({"name": "a", "gateways": [{"host": "198.51.100.7"}]})).await;
        let theirs = trunk(&db, Some(other), json!({"name": "b", "gateways": [{"host": "198.51.100.8"}, {"host": "198.51.100.9"}]})).await;
        trunk(&db, None, json!({"name": "platform", "gateways": [{"host": "x", "cidr": "203.0.113.0/24"}]})).await;
        number(&db, other, "+12125550123", Some(desk), None, json!({})).await;
        number(&db, other, "+12125550124", Some(desk), Some(&theirs), json!({})).await;
        let directory = directory(&db).await;
        let on = async |source: &str, to: &str| directory.route(&arrival(source, to, "sip:x@y")).await;
        assert_eq!(on("198.51.100.7", "+12125550123").await.unwrap_err(), Refused::UnknownNumber);
        assert_eq!(answered(on("198.51.100.8", "+12125550123").await), "other 1");
        assert_eq!(answered(on("203.0.113.9", "+12125550123").await), "other 1", "by the platform's trunk");
        // A number with a trunk of its own is called by no other.
        assert_eq!(answered(on("198.51.100.9", "+12125550124").await), "other 1");
        assert_eq!(on("203.0.113.9", "+12125550124").await.unwrap_err(), Refused::UnknownNumber);
    }

    async fn rules_come_after_numbers_in_their_order_and_the_trunks_default_last(db) {
        let (desk, night, gold) = (agent(&db, db.tenant, "desk", 1).await, agent(&db, db.tenant, "night", 1).await, agent(&db, db.tenant, "gold", 1).await);
        let id = trunk(&db, Some(db.tenant), json!({"name": "pbx", "gateways": [{"host": "198.51.100.7"}],
            "sip": {"headers_in": {"X-Account": "account"}}, "default": {"kind": "agent", "agent_id": night}})).await;
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({})).await;
        rule(&db, db.tenant, 20, json!({"to": "+1212*"}), json!({"kind": "reject", "sip_status": 603}), json!({})).await;
        rule(&db, db.tenant, 10, json!({"trunk_ids": [id], "to": "support", "headers": {"X-Account": "gold*"}}), json!({"kind": "agent", "agent_id": gold}), json!({"tier": 1})).await;
        rule(&db, db.tenant, 30, json!({"to": "shared"}), json!({"kind": "weighted", "agents": [{"agent_id": desk}]}), json!({})).await;
        let directory = directory(&db).await;
        let mut call = arrival("198.51.100.7", "+12125550123", "sip:x@y");
        assert_eq!(answered(directory.route(&call).await), "desk 1", "a number before every rule");
        call.to = "+12125550199".to_owned().into();
        assert_eq!(directory.route(&call).await.unwrap_err(), Refused::Rejected(603));
        call.to = "shared".to_owned().into();
        assert_eq!(answered(directory.route(&call).await), "desk 1");
        call.to = "support".to_owned().into();
        assert_eq!(answered(directory.route(&call).await), "night 1", "the default");
        call.headers = vec![("x-account".into(), "gold-7".into())];
        let route = directory.route(&call).await.unwrap().unwrap();
        assert_eq!(route.agent.name, "gold 1");
        assert_eq!(json!(route.variables), json!({"tier": 1, "account": "gold-7"}));
    }

    async fn callers_may_be_refused_and_closed_hours_have_their_own_answer(db) {
        let desk = agent(&db, db.tenant, "desk", 1).await;
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        number(&db, db.tenant, "+12125550101", Some(desk), None, json!({"callers": {"block": ["+1900"], "countries": ["US"]}})).await;
        number(&db, db.tenant, "+12125550102", Some(desk), None, json!({"hours": {"timezone": "UTC", "closed": {"kind": "message", "text": "Closed."}}})).await;
        number(&db, db.tenant, "+12125550103", Some(desk), None, json!({"hours": {"timezone": "UTC", "closed": {"kind": "voicemail"}}})).await;
        number(&db, db.tenant, "+12125550104", Some(desk), None, json!({"hours": {"timezone": "UTC"}})).await;
        let directory = directory(&db).await;
        let call = async |to: &str, asserted: &[&str]| {
            let mut call = arrival("198.51.100.7", to, "sip:+12125550999@x");
            call.identity.asserted = asserted.first().map(|user| (*user).to_owned().into());
            directory.route(&call).await
        };
        assert_eq!(answered(call("+12125550101", &[]).await), "desk 1");
        // The carrier's word counts for more than the caller's.
        let blocked = call("+12125550101", &["+19005550100"]).await;
        assert_eq!(blocked.unwrap_err(), Refused::Blocked);
        assert_eq!(call("+12125550101", &["+442079460000"]).await.unwrap_err(), Refused::Blocked);
        assert_eq!(answered(call("+12125550102", &[]).await), "Message");
        assert_eq!(answered(call("+12125550103", &[]).await), "Voicemail");
        assert_eq!(call("+12125550104", &[]).await.unwrap_err(), Refused::Rejected(480));
    }

    async fn an_agent_that_is_gone_leads_to_the_fallback(db) {
        let (desk, spare) = (agent(&db, db.tenant, "desk", 1).await, agent(&db, db.tenant, "spare", 1).await);
        let foreign = agent(&db, tenant(&db, "other").await, "foreign", 1).await;
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        number(&db, db.tenant, "+12125550101", Some(desk), None, json!({"fallback": {"kind": "agent", "agent_id": spare}})).await;
        number(&db, db.tenant, "+12125550102", Some(desk), None, json!({})).await;
        number(&db, db.tenant, "+12125550103", None, None, json!({"agents": [{"agent_id": foreign}]})).await;
        db.run("UPDATE agents SET deleted_at = 1 WHERE name = 'desk'").await;
        let directory = directory(&db).await;
        let call = async |to: &str| directory.route(&arrival("198.51.100.7", to, "sip:x@y")).await;
        assert_eq!(answered(call("+12125550101").await), "spare 1");
        assert_eq!(call("+12125550102").await.unwrap_err(), Refused::Rejected(480));
        assert_eq!(call("+12125550103").await.unwrap_err(), Refused::Rejected(480), "another tenant's agent is none");
    }

    async fn what_another_node_changes_is_seen_and_a_store_that_is_away_changes_nothing(db) {
        let desk = agent(&db, db.tenant, "desk", 2).await;
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        let directory = directory(&db).await;
        let call = async || directory.route(&arrival("198.51.100.7", "+12125550123", "sip:x@y")).await;
        assert_eq!(call().await.unwrap_err(), Refused::UnknownNumber);
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({})).await;
        assert_eq!(directory.look().await.unwrap(), 1);
        assert_eq!(directory.look().await.unwrap(), 0, "nothing has changed since");
        assert_eq!(answered(call().await), "desk 2");
        db.run("UPDATE numbers SET status = 'released', released_at = 1, version = version + 1").await;
        assert_eq!(directory.look().await.unwrap(), 1);
        assert_eq!(call().await.unwrap_err(), Refused::UnknownNumber);
        db.run("UPDATE numbers SET status = 'active', released_at = NULL, version = version + 1").await;
        assert_eq!(directory.look().await.unwrap(), 1);
        db.store.close().await;
        assert!(directory.look().await.is_err());
        assert_eq!(answered(call().await), "desk 2", "from memory");
    }

    async fn a_document_that_cannot_be_read_silences_nobody_else(db) {
        let desk = agent(&db, db.tenant, "desk", 1).await;
        trunk(&db, Some(db.tenant), json!({"name": "broken", "gatewayz": []})).await;
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        number(&db, db.tenant, "+12125550101", Some(desk), None, json!({"agentz": []})).await;
        number(&db, db.tenant, "+12125550102", Some(desk), None, json!({})).await;
        rule(&db, db.tenant, 1, json!({"too": 1}), json!({}), json!({})).await;
        let directory = directory(&db).await;
        let call = async |to: &str| directory.route(&arrival("198.51.100.7", to, "sip:x@y")).await;
        assert_eq!(answered(call("+12125550102").await), "desk 1");
        assert_eq!(call("+12125550101").await.unwrap_err(), Refused::UnknownNumber);
    }

    async fn inside_numbers_are_the_house_tenants_only(db) {
        let other = tenant(&db, "other").await;
        let (desk, theirs) = (agent(&db, db.tenant, "desk", 1).await, agent(&db, other, "theirs", 1).await);
        number(&db, db.tenant, "+12125550101", Some(desk), None, json!({})).await;
        number(&db, other, "+12125550102", Some(theirs), None, json!({})).await;
        let directory = directory(&db).await;
        let call = async |to: &str| directory.route_inside(&arrival("127.0.0.1", to, "sip:x@y"), db.tenant).await;
        assert_eq!(answered(call("+12125550101").await), "desk 1");
        assert!(call("+12125550102").await.unwrap().is_none());
        assert!(call("demo").await.unwrap().is_none());
    }
}
