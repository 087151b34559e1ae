//! Numbers come over from other carriers by simulated ones, whatever happens on the way.

use std::time::Duration;

use serde_json::{Value, json};
use vendor_sim::{Knobs, Running};

use super::{
    rows::{agent, answered, arrival, directory, number, tenant, trunk},
    shop::{Shop, balance, hurry, work},
};
use crate::{
    agents::become_another_tenant,
    db::{Db, on_both},
    fake::Client,
    invariants,
    walk::everything,
};

const NUMBERS: &str = "/api/v1/numbers";
const ACCOUNT: &str = "8841-2204-7719";
const PIN: &str = "pass-471100";

fn form(carrier: &str, e164s: &[&str]) -> Value {
    json!({"e164s": e164s, "carrier": carrier, "authorized_name": "Ann Example", "account_number": ACCOUNT, "pin": PIN,
        "losing_carrier": "Example Telecom", "foc_date": "2099-03-01",
        "service_address": {"street": "600 Congress Ave", "city": "Austin", "region": "TX", "postal_code": "78701", "country": "US"}})
}

/// Lets a simulated carrier move on.
async fn sim(carrier: &Running, wish: Value) {
    let url = format!("http://{}/sim/ports", carrier.addr());
    let answer = reqwest::Client::new().post(url).json(&wish).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{wish}");
}

/// A request that the carrier has.
async fn asked(shop: &Shop, carrier: &str, e164s: &[&str]) -> String {
    let answer = shop.client.post(&format!("{NUMBERS}/port"), form(carrier, e164s)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["state"]), (202, &json!("submitted")), "{}", answer.text());
    answer.header("location").to_owned()
}

/// Waits until the carrier's word has come through; the order.
async fn until(db: &Db, shop: &Shop, path: &str, come: impl Fn(&Value) -> bool) -> Value {
    poll(shop, path, come, async || hurry(db).await).await
}

async fn poll(shop: &Shop, path: &str, come: impl Fn(&Value) -> bool, between: impl AsyncFn()) -> Value {
    let mut order = Value::Null;
    for _ in 0..500 {
        order = shop.client.get(path).await.json();
        if come(&order) {
            return order;
        }
        between().await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    panic!("it did not come to that: {order}");
}

async fn until_state(db: &Db, shop: &Shop, path: &str, state: &str) -> Value {
    until(db, shop, path, |order| order["state"] == state).await
}

/// Waits until the carrier has been handed a request.
async fn handed_in(db: &Db, path: &str) {
    let id = path.rsplit('/').next().unwrap();
    for _ in 0..300 {
        let sql = "SELECT COUNT(*) FROM number_ports WHERE order_id = $1 AND port_ref IS NULL";
        let open: i64 = sqlx::query_scalar(sql).bind(id).fetch_one(&db.raw).await.unwrap();
        if open == 0 {
            return;
        }
        hurry(db).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    panic!("the carrier was not asked");
}

fn states(order: &Value) -> Vec<(&str, &str)> {
    let numbers = order["port"]["numbers"].as_array().unwrap();
    numbers.iter().map(|one| (one["e164"].as_str().unwrap(), one["state"].as_str().unwrap())).collect()
}

fn told_why(order: &Value, n: usize) -> &str {
    order["port"]["numbers"][n]["reason"].as_str().unwrap_or_default()
}

async fn status(shop: &Shop, e164: &str) -> String {
    let path = format!("{NUMBERS}?e164={}", e164.replace('+', "%2B"));
    for path in [path.clone(), format!("{path}&status=failed"), format!("{path}&status=released")] {
        if let Some(found) = shop.client.get(&path).await.json()["data"][0]["status"].as_str() {
            return found.to_owned();
        }
    }
    "nowhere".into()
}

async fn told(db: &Db, e164: &str) -> Vec<String> {
    let sql = "SELECT data FROM events WHERE type = 'number.port.updated' ORDER BY created_at, id";
    let all: Vec<String> = sqlx::query_scalar(sql).fetch_all(&db.raw).await.unwrap();
    let all = all.iter().map(|data| serde_json::from_str::<Value>(data).unwrap());
    all.filter(|data| data["e164"] == e164).map(|data| data["state"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    async fn a_number_comes_over_to_telnyx_and_is_answered_from_then_on(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        let desk = agent(&db, db.tenant, "desk", 1).await;
        let path = asked(&shop, "telnyx", &["+13125550190"]).await;
        handed_in(&db, &path).await;
        let filled = shop.telnyx.seen().iter().find(|seen| seen.get("fill").is_some()).unwrap()["body"].clone();
        assert_eq!(filled["end_user"]["admin"]["account_number"], ACCOUNT);
        assert_eq!(filled["end_user"]["location"]["administrative_area"], "TX");
        assert_eq!(filled["phone_number_configuration"]["connection_id"], "conn-1");
        assert_eq!(filled["activation_settings"]["foc_datetime_requested"], "2099-03-01T15:00:00Z");
        // While it is on its way it is shown, can be given to an agent, and is not answered.
        let on_its_way = shop.client.get(&format!("{NUMBERS}?status=porting")).await.json()["data"][0].clone();
        assert_eq!((&on_its_way["e164"], &on_its_way["carrier"]), (&json!("+13125550190"), &json!("telnyx")));
        let own = format!("{NUMBERS}/{}", on_its_way["id"].as_str().unwrap());
        assert_eq!(shop.client.put(&format!("{own}/assign"), json!({"agent_id": desk})).await.status, 200);
        trunk(&db, None, json!({"name": "telnyx", "gateways": [{"host": "9.9.9.9"}]})).await;
        let directory = directory(&db).await;
        let call = async || directory.route(&arrival("9.9.9.9", "+13125550190", "sip:x@y")).await;
        assert!(call().await.is_err(), "a number that is not here rings nobody");
        sim(&shop.telnyx, json!({"e164": "+13125550190", "status": "submitted"})).await;
        until_state(&db, &shop, &path, "pending").await;
        sim(&shop.telnyx, json!({"e164": "+13125550190", "status": "exception", "reason": format!("PIN {PIN} of {ACCOUNT} does not fit")})).await;
        let order = until_state(&db, &shop, &path, "exception").await;
        assert_eq!((&order["port"]["numbers"][0]["reason"], &order["error"]), (&json!("PIN … of … does not fit"), &json!("PIN … of … does not fit")));
        sim(&shop.telnyx, json!({"e164": "+13125550190", "status": "foc-date-confirmed", "foc": "2099-03-02"})).await;
        let order = until_state(&db, &shop, &path, "foc_confirmed").await;
        assert_eq!((&order["port"]["numbers"][0]["foc_date"], &order["port"]["foc_date"], &order["port"]["account_hint"]),
            (&json!("2099-03-02"), &json!("2099-03-01"), &json!("…7719")));
        assert!(call().await.is_err());
        sim(&shop.telnyx, json!({"e164": "+13125550190", "status": "ported"})).await;
        until_state(&db, &shop, &path, "completed").await;
        assert_eq!(answered(call().await), "desk 1");
        let here = shop.client.get(&own).await.json();
        assert_eq!(here["status"], "active");
        assert!(shop.telnyx.seen().iter().any(|seen| seen["body"]["connection_id"] == "conn-1" && seen.get("change").is_some()), "pointed at us");
        assert_eq!(told(&db, "+13125550190").await, ["submitted", "pending", "exception", "foc_confirmed", "completed"]);
        // Its first month is taken by who takes rents, once, and then it costs as a bought one.
        assert_eq!(balance(&db).await, 5_000_000);
        let now = control_api::now_ms();
        assert_eq!((db.store.take_rents(now).await.unwrap(), db.store.take_rents(now).await.unwrap()), (1, 0));
        assert_eq!(balance(&db).await, 3_000_000);
        assert_eq!(db.number("SELECT COUNT(*) FROM number_orders WHERE sealed IS NOT NULL").await, 0, "the form is forgotten");
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'number.port' AND state <> 'done'").await, 0);
        // From now on it is a number as any other.
        assert_eq!(shop.client.delete(&own).await.json()["kind"], "release");
        shop.until(&["done"]).await;
        invariants::hold(&db).await;
    }

    async fn of_several_numbers_each_has_its_own_fate_at_twilio(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        sim(&shop.twilio, json!({"unportable": "+12125550143"})).await;
        let path = asked(&shop, "twilio", &["+12125550141", "+12125550142", "+12125550143"]).await;
        let order = until(&db, &shop, &path, |order| states(order)[2].1 == "rejected").await;
        assert!(order["port"]["numbers"][2]["reason"].as_str().unwrap().contains("rate center"), "{order}");
        assert_eq!(status(&shop, "+12125550143").await, "failed");
        // The fee for three, and back for one.
        assert_eq!(balance(&db).await, 5_000_000 - 2 * 500_000);
        let form = shop.twilio.seen().iter().find(|seen| seen.get("port").is_some()).unwrap()["port"].clone();
        assert_eq!(form["losing_carrier_information"]["address"]["state"], "TX");
        assert_eq!((&form["target_port_in_date"], &form["phone_numbers"][1]["pin"]), (&json!("2099-03-01"), &json!(PIN)));
        sim(&shop.twilio, json!({"e164": "+12125550141", "status": "Submitted", "request_status": "In progress"})).await;
        sim(&shop.twilio, json!({"e164": "+12125550142", "status": "Rejected", "request_status": "Action Required", "reason": "wrong zip"})).await;
        let order = until_state(&db, &shop, &path, "exception").await;
        assert_eq!(states(&order), [("+12125550141", "exception"), ("+12125550142", "exception"), ("+12125550143", "rejected")]);
        sim(&shop.twilio, json!({"e164": "+12125550142", "status": "Submitted", "request_status": "In progress", "date": "2099-03-02"})).await;
        let order = until_state(&db, &shop, &path, "pending").await;
        assert_eq!(states(&order), [("+12125550141", "pending"), ("+12125550142", "foc_confirmed"), ("+12125550143", "rejected")]);
        assert_eq!(order["port"]["numbers"][1]["foc_date"], "2099-03-02");
        sim(&shop.twilio, json!({"e164": "+12125550142", "status": "Completed"})).await;
        until(&db, &shop, &path, |order| states(order)[1].1 == "completed").await;
        assert_eq!((status(&shop, "+12125550142").await, status(&shop, "+12125550141").await), ("active".into(), "porting".into()));
        sim(&shop.twilio, json!({"e164": "+12125550141", "status": "Rejected", "reason": "another request is pending"})).await;
        let order = until_state(&db, &shop, &path, "completed").await;
        assert_eq!(order["error"], "another request is pending");
        assert_eq!(balance(&db).await, 5_000_000 - 500_000);
        assert!(shop.twilio.seen().iter().any(|seen| seen["form"].to_string().contains("TK1")), "pointed at our trunk");
        // Who did not come is free to be tried again.
        asked(&shop, "twilio", &["+12125550143"]).await;
        assert_eq!(shop.client.get(&format!("{NUMBERS}/orders")).await.json()["data"].as_array().unwrap().len(), 2);
        invariants::hold(&db).await;
    }

    async fn one_number_that_cannot_be_ported_does_not_spoil_the_others_at_telnyx(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        sim(&shop.telnyx, json!({"unportable": "+13125550191"})).await;
        let path = asked(&shop, "telnyx", &["+13125550190", "+13125550191", "+13125550192"]).await;
        let order = until(&db, &shop, &path, |order| states(order)[1].1 == "rejected").await;
        assert_eq!(order["port"]["numbers"][1]["reason"], "no coverage");
        sim(&shop.telnyx, json!({"e164": "+13125550190", "status": "ported"})).await;
        let order = until_state(&db, &shop, &path, "completed").await;
        assert_eq!(states(&order), [("+13125550190", "completed"), ("+13125550191", "rejected"), ("+13125550192", "completed")]);
        // What Telnyx does not take at all is refused with its reason, without what it quotes.
        let mut wrong = form("telnyx", &["+13125550193"]);
        wrong["account_number"] = json!("WRONG-ACCOUNT");
        let answer = shop.client.post(&format!("{NUMBERS}/port"), wrong).await;
        let order = until_state(&db, &shop, answer.header("location"), "rejected").await;
        assert_eq!(order["error"], "422: The account number … is not one of the losing carrier");
        assert_eq!(status(&shop, "+13125550193").await, "failed");
        // What it lacks is waited for; what is filled in is not written over, because it may have been mended there.
        sim(&shop.telnyx, json!({"lacking": true})).await;
        let path = asked(&shop, "telnyx", &["+13125550194"]).await;
        let order = until_state(&db, &shop, &path, "exception").await;
        assert!(order["error"].as_str().unwrap().contains("letter of authorization"), "{order}");
        let fills = || shop.telnyx.seen().iter().filter(|seen| seen.get("fill").is_some()).count();
        let filled = fills();
        sim(&shop.telnyx, json!({"lacking": false})).await;
        until_state(&db, &shop, &path, "submitted").await;
        assert_eq!(fills(), filled);
        invariants::hold(&db).await;
    }

    async fn a_carrier_that_is_down_and_an_answer_that_is_lost_ask_for_nothing_twice(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        for (carrier, name, e164) in [(&shop.twilio, "twilio", "+12125550141"), (&shop.telnyx, "telnyx", "+13125550190")] {
            sim(carrier, json!({"down": true, "lose": true})).await;
            let path = asked(&shop, name, &[e164]).await;
            let order = until(&db, &shop, &path, |order| !order["error"].is_null()).await;
            assert_eq!((&order["state"], order["error"].as_str().unwrap().contains("503")), (&json!("submitted"), true), "{order}");
            sim(carrier, json!({"down": false})).await;
            handed_in(&db, &path).await;
            let order = until(&db, &shop, &path, |order| order["error"].is_null()).await;
            assert_eq!(order["state"], "submitted");
            let made = carrier.seen().iter().filter(|seen| seen.get("port").is_some()).count();
            assert_eq!(made, 1, "{name}");
            // Down in the middle of it: nothing is lost.
            sim(carrier, json!({"down": true})).await;
            until(&db, &shop, &path, |order| !order["error"].is_null()).await;
            sim(carrier, json!({"down": false, "e164": e164, "status": if name == "twilio" { "Completed" } else { "ported" }})).await;
            until_state(&db, &shop, &path, "completed").await;
            assert_eq!(told(&db, e164).await, ["submitted", "completed"]);
        }
        invariants::hold(&db).await;
    }

    async fn a_node_that_stops_in_the_middle_leaves_the_request_to_the_next(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        shop.background.stop(Duration::from_secs(1)).await;
        let answer = shop.client.post(&format!("{NUMBERS}/port"), form("telnyx", &["+13125550190"])).await;
        assert_eq!(answer.status, 202);
        let path = answer.header("location").to_owned();
        let second = work(&db, &shop.settings).await;
        handed_in(&db, &path).await;
        second.stop(Duration::from_secs(1)).await;
        // It died after the carrier had the order and before anybody wrote that down.
        db.run("UPDATE number_ports SET port_ref = NULL").await;
        sim(&shop.telnyx, json!({"e164": "+13125550190", "status": "ported"})).await;
        let third = work(&db, &shop.settings).await;
        for _ in 0..200 {
            hurry(&db).await;
            if db.number("SELECT COUNT(*) FROM numbers WHERE status = 'active'").await == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        assert_eq!(shop.client.get(&path).await.json()["state"], "completed");
        assert_eq!(shop.telnyx.seen().iter().filter(|seen| seen.get("port").is_some()).count(), 1);
        third.stop(Duration::from_secs(1)).await;
        invariants::hold(&db).await;
    }

    async fn what_is_on_its_way_is_called_off_as_long_as_the_carrier_does_that(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        let id = |order: &Value, n: usize| format!("{NUMBERS}/{}", order["port"]["numbers"][n]["number_id"].as_str().unwrap());
        // Twilio takes one number out of a request.
        let path = asked(&shop, "twilio", &["+12125550141", "+12125550142"]).await;
        handed_in(&db, &path).await;
        let order = shop.client.get(&path).await.json();
        let off = shop.client.delete(&id(&order, 0)).await;
        assert_eq!((off.status.as_u16(), &off.json()["kind"]), (202, &json!("port")), "{}", off.text());
        let order = until(&db, &shop, &path, |order| states(order)[0].1 == "canceled").await;
        assert_eq!((order["state"].as_str().unwrap(), status(&shop, "+12125550141").await.as_str()), ("submitted", "released"));
        assert_eq!(balance(&db).await, 5_000_000 - 500_000);
        // With a day agreed upon it is too late.
        sim(&shop.twilio, json!({"e164": "+12125550142", "status": "Submitted", "date": "2099-03-02"})).await;
        until_state(&db, &shop, &path, "foc_confirmed").await;
        let late = shop.client.delete(&id(&order, 1)).await.error();
        assert_eq!((late.0, late.1.as_str()), (409, "port_not_cancelable"));
        sim(&shop.twilio, json!({"down": true})).await;
        assert_eq!(shop.client.delete(&id(&order, 1)).await.error().1, "vendor_failed");
        // Telnyx does it only whole.
        let path = asked(&shop, "telnyx", &["+13125550190", "+13125550191"]).await;
        handed_in(&db, &path).await;
        let order = shop.client.get(&path).await.json();
        let part = shop.client.delete(&id(&order, 0)).await.error();
        assert_eq!((part.0, part.1.as_str()), (409, "port_indivisible"));
        assert_eq!(shop.client.delete(&format!("{}?with_request=maybe", id(&order, 0))).await.error().2.as_deref(), Some("with_request"));
        assert_eq!(shop.client.delete(&format!("{}?with_request=true", id(&order, 0))).await.status, 202);
        let order = until_state(&db, &shop, &path, "canceled").await;
        assert_eq!(states(&order), [("+13125550190", "canceled"), ("+13125550191", "canceled")]);
        assert_eq!(shop.client.delete(&id(&order, 0)).await.error().1, "not_found");
        // What no carrier has heard of is called off without one.
        sim(&shop.telnyx, json!({"down": true})).await;
        let path = asked(&shop, "telnyx", &["+13125550194"]).await;
        until(&db, &shop, &path, |order| !order["error"].is_null()).await;
        let order = shop.client.get(&path).await.json();
        assert_eq!(shop.client.delete(&id(&order, 0)).await.status, 202);
        sim(&shop.telnyx, json!({"down": false})).await;
        until_state(&db, &shop, &path, "canceled").await;
        assert!(!shop.telnyx.seen().iter().any(|seen| seen["port"].to_string().contains("+13125550194")));
        // A draft that is called off is thrown away, and seen to be gone.
        sim(&shop.telnyx, json!({"lacking": true})).await;
        let path = asked(&shop, "telnyx", &["+13125550195"]).await;
        let order = until_state(&db, &shop, &path, "exception").await;
        assert_eq!(shop.client.delete(&id(&order, 0)).await.status, 202);
        until_state(&db, &shop, &path, "canceled").await;
        // One of two is called off while nobody knows that Telnyx has both: the other is not taken along.
        sim(&shop.telnyx, json!({"lacking": false, "lose": true})).await;
        let path = asked(&shop, "telnyx", &["+13125550196", "+13125550197"]).await;
        let id = path.rsplit('/').next().unwrap();
        // Not hurried: the next round finds what was lost.
        poll(&shop, &path, |order| !order["error"].is_null(), async || ()).await;
        sqlx::query("UPDATE number_ports SET cancel_asked = 1 WHERE order_id = $1 AND e164 = '+13125550196'").bind(id).execute(&db.raw).await.unwrap();
        handed_in(&db, &path).await;
        let order = until(&db, &shop, &path, |order| told_why(order, 0).contains("only whole") || states(order)[1].1 != "submitted").await;
        assert_eq!(states(&order), [("+13125550196", "submitted"), ("+13125550197", "submitted")], "{order}");
        invariants::hold(&db).await;
    }

    async fn what_cannot_be_asked_for_is_refused_by_name(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        let port = format!("{NUMBERS}/port");
        let with = |field: &str, value: Value| {
            let mut wanted = form("telnyx", &["+13125550190"]);
            *wanted.pointer_mut(&format!("/{}", field.replace('.', "/"))).unwrap() = value;
            wanted
        };
        for (field, value) in [
            ("e164s", json!([])), ("e164s", json!(vec!["+13125550190"; 51])), ("authorized_name", json!(" ")), ("account_number", json!("")),
            ("pin", json!("x".repeat(33))), ("service_address.street", json!("a\nb")), ("service_address.country", json!("ZZ")),
            ("foc_date", json!("2020-01-01")), ("foc_date", json!("2099-02-30")), ("foc_date", json!("2099-03-01T10:00:00Z")), ("carrier", json!("acme")),
        ] {
            let error = shop.client.post(&port, with(field, value.clone())).await.error();
            assert_eq!((error.0, error.2.as_deref()), (400, Some(field)), "{field} {value}");
        }
        let twice = shop.client.post(&port, with("e164s", json!(["+13125550190", "+13125550190"]))).await.error();
        assert_eq!((twice.0, twice.2.as_deref()), (400, Some("e164s[1]")));
        assert_eq!(shop.client.post(&port, with("carrier", json!("none"))).await.error(), (409, "port_needs_carrier".into(), Some("carrier".into())));
        assert_eq!(Client::new(&db).post(&port, form("telnyx", &["+13125550190"])).await.error().1, "no_carrier_configured");
        // Whose a number is, is not told.
        let other = tenant(&db, "other").await;
        number(&db, other, "+13125550199", None, None, json!({})).await;
        let taken = shop.client.post(&port, form("telnyx", &["+13125550198", "+13125550199"])).await;
        assert_eq!(taken.error(), (409, "number_taken".into(), Some("e164s[1]".into())));
        assert!(taken.text().contains("+13125550199") && !taken.text().contains(&other.to_string()), "{}", taken.text());
        assert_eq!(db.number("SELECT COUNT(*) FROM numbers WHERE e164 = '+13125550198'").await, 0);
        // A bill is a file of one's own, and nothing but a bill.
        let mut billed = form("telnyx", &["+13125550190"]);
        billed["bill_file_id"] = json!("0193481e-7a10-7000-8000-0000000000d1");
        assert_eq!(shop.client.post(&port, billed.clone()).await.error().0, 404);
        let export = shop.client.post("/api/v1/calls/export", json!({"format": "csv"})).await.json();
        billed["bill_file_id"] = export["id"].clone();
        assert_eq!(shop.client.post(&port, billed.clone()).await.error().2.as_deref(), Some("bill_file_id"));
        let sent = shop.client.upload("/api/v1/files", "../bill.exe", "text/html", b"%PDF-bill").await;
        assert_eq!((sent.status.as_u16(), &sent.json()["bytes"]), (201, &json!(9)), "{}", sent.text());
        billed["bill_file_id"] = sent.json()["id"].clone();
        db.run(&format!("UPDATE files SET tenant_id = '{other}' WHERE kind = 'bill'")).await;
        assert_eq!(shop.client.post(&port, billed.clone()).await.error().0, 404);
        db.run(&format!("UPDATE files SET tenant_id = '{}' WHERE kind = 'bill'", db.tenant)).await;
        let path = shop.client.post(&port, billed).await.header("location").to_owned();
        handed_in(&db, &path).await;
        assert!(shop.telnyx.seen().iter().any(|seen| seen["document"].as_str().is_some_and(|name| name.ends_with(".pdf")) && seen["base64"] == "JVBERi1iaWxs"));
        invariants::hold(&db).await;
    }

    async fn the_account_and_its_pin_are_nowhere_to_be_read(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        let path = asked(&shop, "twilio", &["+12125550141"]).await;
        handed_in(&db, &path).await;
        let rows = everything(&db).await.join("\n");
        let answers = [shop.client.get(&path).await.text(), shop.client.get(&format!("{NUMBERS}/orders")).await.text(), shop.client.get(NUMBERS).await.text()].concat();
        assert!(rows.contains("v1.") && rows.contains("number.port"), "the form is kept, and who asked is known");
        for secret in [ACCOUNT, PIN, "600 Congress", "Ann Example"] {
            assert!(!rows.contains(secret) && !answers.contains(secret), "{secret} can be read");
        }
        invariants::hold(&db).await;
    }

    async fn a_tenant_that_goes_leaves_nothing_on_its_way(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        let path = asked(&shop, "telnyx", &["+13125550190"]).await;
        handed_in(&db, &path).await;
        // As the end of a tenant leaves it.
        db.run("UPDATE number_ports SET cancel_asked = 1").await;
        db.run("UPDATE numbers SET status = 'releasing', released_at = 1").await;
        until_state(&db, &shop, &path, "canceled").await;
        assert!(shop.telnyx.seen().iter().any(|seen| seen["port_action"] == "cancel"));
        invariants::hold(&db).await;
    }

    async fn a_bill_is_sent_here_seen_by_its_own_and_goes_in_its_time(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        let client = &shop.client;
        let path = "/api/v1/files";
        for (content, kind) in [(&b"\x89PNG\r\n\x1a\nx"[..], "image/png"), (&[0xff, 0xd8, 0xff, 0xe0][..], "image/jpeg"), (&b"%PDF-1.7"[..], "application/pdf")] {
            let sent = client.upload(path, "bill", "application/octet-stream", content).await;
            assert_eq!(sent.status, 201, "{}", sent.text());
            let shown = client.get(sent.header("location")).await.json();
            let fetched = client.get(shown["url"].as_str().unwrap()).await;
            assert_eq!((fetched.header("content-type"), &fetched.bytes[..]), (kind, content));
        }
        let refused = async |content: &[u8]| client.upload(path, "bill.pdf", "application/pdf", content).await.error();
        assert_eq!(refused(b"<html>").await, (415, "unsupported_media_type".into(), Some("file".into())));
        assert_eq!(refused(&[]).await.0, 415);
        assert_eq!(client.post(path, json!({"file": "x"})).await.error().0, 415);
        let mut large = b"%PDF-".to_vec();
        large.resize((10 << 20) + 1, 0);
        assert_eq!(refused(&large).await.0, 413);
        let id: String = sqlx::query_scalar("SELECT id FROM files LIMIT 1").fetch_one(&db.raw).await.unwrap();
        become_another_tenant(&db).await;
        assert_eq!(Client::new(&db).get(&format!("{path}/{id}")).await.error().0, 404);
    }
}
