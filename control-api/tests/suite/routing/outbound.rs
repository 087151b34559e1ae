//! Who may be called, under which number, and by which gateways.

use control_api::{Forbidden, NoPlan, Plan, Signature, Transport, Vouched};
use domain::phone::Barred;
use serde_json::json;

use super::rows::{dial, directory, number, tenant, trunk};
use crate::db::on_both;

on_both! {
    async fn forbidden_destinations_never_get_a_plan(db) {
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        db.run("INSERT INTO do_not_call (tenant_id, e164, reason, created_at) SELECT id, '+12125550199', 'asked', 1 FROM tenants WHERE slug = 'default'").await;
        let directory = directory(&db).await;
        for (to, why) in [
            ("+9001234567", Forbidden::Barred(Barred::Premium)),
            ("+19005550100", Forbidden::Barred(Barred::Premium)),
            ("+8816123456789", Forbidden::Barred(Barred::Satellite)),
            ("+442079460000", Forbidden::Country),
            ("+12125550199", Forbidden::DoNotCall),
            ("sip:x@169.254.169.254", Forbidden::Network),
            ("sip:x@[::ffff:169.254.169.254]:5060", Forbidden::Network),
            ("sip:x@10.0.0.1", Forbidden::Network),
            ("tel:+12125550100", Forbidden::Malformed),
            ("+12125550100;phone-context=x", Forbidden::Malformed),
            ("12125550100", Forbidden::Malformed),
            ("sip:x@no-such-host.invalid", Forbidden::Unresolved),
        ] {
            let refused = directory.plan(&dial(db.tenant, to, None)).await.unwrap_err();
            assert!(matches!(refused, NoPlan::Forbidden(found) if found == why), "{to}: {refused}");
        }
        assert!(directory.plan(&dial(db.tenant, "+12125550100", None)).await.is_ok());
        // What is dearer than the tenant allows, or blocked in its plan, is not called either.
        db.run("UPDATE tenants SET max_rate_micros = 100").await;
        db.run("UPDATE rates SET unit_micros = 101 WHERE item = 'voice_out'").await;
        let dear = directory.plan(&dial(db.tenant, "+12125550100", None)).await.unwrap_err();
        assert!(matches!(dear, NoPlan::Forbidden(Forbidden::Rate)), "{dear}");
        db.run("UPDATE rates SET unit_micros = 0, blocked = 1 WHERE item = 'voice_out'").await;
        let blocked = directory.plan(&dial(db.tenant, "+12125550100", None)).await.unwrap_err();
        assert!(matches!(blocked, NoPlan::Forbidden(Forbidden::NoRate)), "{blocked}");
    }

    async fn the_caller_id_is_a_number_of_ones_own(db) {
        let other = tenant(&db, "other").await;
        trunk(&db, None, json!({"name": "platform", "gateways": [{"host": "198.51.100.7"}]})).await;
        let own = number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        let foreign = number(&db, other, "+12125550124", None, None, json!({})).await;
        let directory = directory(&db).await;
        for from in ["+12125550124", "+12125550199", foreign.as_str(), "sip:ceo@bank.example"] {
            let refused = directory.plan(&dial(db.tenant, "+12125550100", Some(from))).await.unwrap_err();
            assert!(matches!(refused, NoPlan::CallerIdNotOwned), "{from}: {refused}");
        }
        for from in [Some("+12125550123"), Some(own.as_str()), None] {
            let plan = directory.plan(&dial(db.tenant, "+12125550100", from)).await.unwrap();
            assert_eq!(plan.number.unwrap().to_string(), own);
            assert_eq!(plan.from.unwrap().expose(), "+12125550123");
        }
        let refused = directory.plan(&dial(db.tenant, "sip:x@127.0.0.1:5090", Some("+12125550124"))).await.unwrap_err();
        assert!(matches!(refused, NoPlan::CallerIdNotOwned), "{refused}");
    }

    async fn a_call_leaves_as_its_trunk_writes_it(db) {
        trunk(&db, Some(db.tenant), json!({"name": "carrier", "gateways": [
                {"host": "spare.example", "priority": 2, "transport": "tcp", "port": 5080}, {"host": "main.example"}, {"host": "2001:db8::1", "priority": 3}],
            "identity": {"from_domain": "pbx.example", "e164": {"add_plus": false, "tech_prefix": "99#"}},
            "sip": {"headers_out": {"X-Tenant": "{{tenant_name}}", "X-Note": "a {{note}} b {{nothing}}"}},
            "failover": {"on": [503], "next_after_ms": 1500}})).await;
        number(&db, db.tenant, "+12125550123", None, None, json!({"outbound": {"display_name": "Hill \"side\""}})).await;
        let directory = directory(&db).await;
        let mut query = dial(db.tenant, "+12125550100", None);
        query.variables.insert("note".into(), json!("x\r\nVia: y"));
        let plan = directory.plan(&query).await.unwrap();
        let hosts: Vec<_> = plan.hops.iter().map(|hop| (hop.host.as_str(), hop.port, hop.transport)).collect();
        assert_eq!(hosts, [("main.example", 5060, Transport::Udp), ("spare.example", 5080, Transport::Tcp), ("2001:db8::1", 5060, Transport::Udp)]);
        let to: Vec<_> = plan.hops.iter().map(|hop| hop.to.expose().as_str()).collect();
        assert_eq!(to, ["sip:99%2312125550100@main.example", "sip:99%2312125550100@spare.example:5080;transport=tcp", "sip:99%2312125550100@[2001:db8::1]"]);
        let hop = &plan.hops[0];
        assert_eq!(hop.from.as_ref().unwrap().expose(), "\"Hill side\" <sip:12125550123@pbx.example>");
        let headers: Vec<_> = hop.headers.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(headers, [("P-Asserted-Identity", "<sip:12125550123@pbx.example>"), ("X-Note", "a xVia: y b "), ("X-Tenant", "Default")]);
        assert_eq!((plan.next_on.as_slice(), plan.next_after.as_millis()), (&[503][..], 1500));
        // No number ends up in a log.
        assert!(!format!("{plan:?}").contains("2125550"), "{plan:?}");
    }

    async fn a_caller_who_wishes_not_to_be_named_is_not_and_only_trusted_trunks_know_him(db) {
        let gateway = json!([{"host": "198.51.100.7"}]);
        let told = |trusted: bool| json!({"name": "t", "gateways": gateway, "identity": {"from_domain": "pbx.example", "privacy_honour": trusted, "stir": {"sign": true}}});
        let id = trunk(&db, Some(db.tenant), told(true)).await;
        number(&db, db.tenant, "+12125550123", None, None, json!({"outbound": {"display_name": "Hill"}})).await;
        let directory = directory(&db).await;
        let left = async |from: Option<&str>| {
            directory.look().await.unwrap();
            let plan = directory.plan(&dial(db.tenant, "+12125550100", from)).await.unwrap();
            let hop = plan.hops[0].clone();
            let headers: Vec<_> = hop.headers.into_iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect();
            (hop.from.unwrap().expose().clone(), headers, plan.manners.unwrap().sign.is_some(), plan.number.is_some())
        };
        let asserted = "P-Asserted-Identity: <sip:+12125550123@pbx.example>".to_owned();
        let nobody = "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned();
        assert_eq!(left(None).await, ("\"Hill\" <sip:+12125550123@pbx.example>".to_owned(), vec![asserted.clone()], true, true));
        assert_eq!(left(Some("anonymous")).await, (nobody.clone(), vec!["Privacy: id".into(), asserted], true, true));
        sqlx::query("UPDATE trunks SET config = $1, version = version + 1 WHERE id = $2").bind(told(false).to_string()).bind(&id).execute(&db.raw).await.unwrap();
        assert_eq!(left(Some("anonymous")).await, (nobody.clone(), vec!["Privacy: id".into()], false, true), "nor does a signature tell the number");
        let direct = directory.plan(&dial(db.tenant, "sip:me@127.0.0.1:5090", Some("anonymous"))).await.unwrap();
        assert_eq!(direct.hops[0].from.as_ref().unwrap().expose(), &nobody);
        assert_eq!(direct.hops[0].headers[0].0, "Privacy");
    }

    async fn a_call_is_signed_for_what_is_known_of_its_number(db) {
        trunk(&db, Some(db.tenant), json!({"name": "t", "gateways": [{"host": "198.51.100.7"}], "identity": {"stir": {"sign": true}}})).await;
        let entered = number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        let directory = directory(&db).await;
        let signed = async || {
            directory.look().await.unwrap();
            directory.plan(&dial(db.tenant, "+12125550100", None)).await.unwrap()
        };
        let sign = |plan: &Plan| plan.manners.as_ref().unwrap().sign.clone();
        let expected = |orig: &str, vouched| Some(Signature { orig: orig.parse().unwrap(), dest: "+12125550100".parse().unwrap(), vouched });
        let mut plan = signed().await;
        assert_eq!(sign(&plan), expected("+12125550123", Vouched::Customer));
        plan.pass_on("+4930123456");
        assert_eq!(sign(&plan), expected("+4930123456", Vouched::Nothing));
        plan.pass_on("anonymous");
        assert_eq!(sign(&plan), None);
        assert_eq!(plan.hops[0].from.as_ref().unwrap().expose(), "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
        let left: Vec<_> = plan.hops[0].headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["Privacy"]);
        sqlx::query("UPDATE numbers SET carrier = 'twilio', version = version + 1 WHERE id = $1").bind(&entered).execute(&db.raw).await.unwrap();
        assert_eq!(sign(&signed().await), expected("+12125550123", Vouched::Number));
        sqlx::query("UPDATE trunks SET config = $1, version = version + 1").bind(json!({"name": "t", "gateways": [{"host": "198.51.100.7"}]}).to_string()).execute(&db.raw).await.unwrap();
        assert_eq!(sign(&signed().await), None, "only where the trunk wants it");
    }

    async fn the_trunk_is_the_one_asked_for_or_the_numbers_or_the_tenants_or_the_platforms(db) {
        let other = tenant(&db, "other").await;
        let gateway = json!([{"host": "198.51.100.7"}]);
        let platform = trunk(&db, None, json!({"name": "p", "gateways": gateway})).await;
        let theirs = trunk(&db, Some(other), json!({"name": "o", "gateways": gateway})).await;
        let number_id = number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        let directory = directory(&db).await;
        let taken = async |trunk: Option<&str>| {
            directory.look().await.unwrap();
            let mut query = dial(db.tenant, "+12125550100", None);
            query.trunk = trunk.map(|id| id.parse().unwrap());
            directory.plan(&query).await.map(|plan| plan.trunk.unwrap().to_string())
        };
        assert_eq!(taken(None).await.unwrap(), platform);
        assert!(matches!(taken(Some(&theirs)).await, Err(NoPlan::NoTrunk)));
        let own = trunk(&db, Some(db.tenant), json!({"name": "t", "gateways": gateway})).await;
        assert_eq!(taken(None).await.unwrap(), own);
        assert_eq!(taken(Some(&platform)).await.unwrap(), platform);
        let bound = trunk(&db, Some(db.tenant), json!({"name": "n", "gateways": gateway})).await;
        sqlx::query("UPDATE numbers SET trunk_id = $1, version = version + 1 WHERE id = $2").bind(&bound).bind(&number_id).execute(&db.raw).await.unwrap();
        assert_eq!(taken(None).await.unwrap(), bound);
        // Inbound only, disabled or without a gateway to send to: none of them carries a call.
        for document in [json!({"name": "i", "direction": "inbound", "gateways": gateway}), json!({"name": "i", "gateways": [{"host": "198.51.100.7", "outbound": false}]})] {
            sqlx::query("UPDATE trunks SET config = $1, version = version + 1").bind(document.to_string()).execute(&db.raw).await.unwrap();
            assert!(matches!(taken(None).await, Err(NoPlan::NoTrunk)), "{document}");
        }
    }

    async fn a_uri_is_called_at_the_address_that_was_judged(db) {
        let directory = directory(&db).await;
        let plan = directory.plan(&dial(db.tenant, "sip:me@127.0.0.1:5090;transport=tcp", None)).await.unwrap();
        assert_eq!(plan.hops[0].addresses, ["127.0.0.1:5090".parse().unwrap()]);
        assert_eq!(plan.hops[0].transport, Transport::Tcp);
        assert!(plan.trunk.is_none() && plan.from.is_none());
        let named = directory.plan(&dial(db.tenant, "sip:me@127.0.0.1", Some("sip:us@example.org"))).await.unwrap();
        assert_eq!(named.from.unwrap().expose(), "sip:us@example.org");
    }
}
