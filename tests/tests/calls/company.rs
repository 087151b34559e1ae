//! A company's day: it signs up, buys credit and a number, makes an agent, is called, calls and hands a caller over; its month ends
//! with a statement, and the books balance.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::sound::voice_ms;
use tests::{Api, Cluster, Phone, Sidetone, enter};
use vendor_sim::{Endpoint, Knobs, Stripe, Telnyx, deliver};

/// $0.15 a minute, by the second, whichever way.
const DECK: &str = "item,unit_micros\nvoice_in,150000\nvoice_out,150000\ntransfer_leg,150000\n";
const SECRET: &str = "whsec_of_the_day";
/// What $25.00 of credit are.
const CREDIT: i64 = 25_000_000;

/// Asks until the answer is as the test wants it.
async fn until(api: &Api, path: &str, done: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let answer = api.get(path).await;
        if done(&answer) {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{path} stays as it is: {answer:#}");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

/// A carrier: another server, which says one thing at one number and another at a second one.
pub(crate) async fn carrier() -> Sidetone {
    let carrier = Sidetone::start().await;
    let trunk = json!({"name": "Customers", "gateways": [{"host": "127.0.0.1", "cidr": "127.0.0.1/32"}]});
    let trunk = carrier.api.post("trunks", &trunk).await;
    for (number, words) in
        [("+14155550100", "Good morning. This is the printer."), ("+14155550101", "This is the manager.")]
    {
        carrier.api.number(number, &trunk["id"], words).await;
    }
    carrier
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companys_day() {
    enter();
    let database = Cluster::start();
    let stripe = Stripe::start(SocketAddr::from(([127, 0, 0, 1], 0)), "sk_live_day", None).await.unwrap();
    let telnyx = Telnyx::start(Knobs { key: Some("KEY".into()), ..Knobs::default() }).await.unwrap();
    let url = database.database();
    let mut server = Sidetone::with(|plan| {
        plan.set("STORE__URL", &url)
            .set("BILLING__STRIPE_URL", &stripe.url())
            .set("BILLING__STRIPE_SECRET_KEY", "sk_live_day")
            .set("BILLING__STRIPE_WEBHOOK_SECRET", SECRET)
            .set("CARRIERS__TELNYX__API_KEY", "KEY")
            .set("CARRIERS__TELNYX__CONNECTION_ID", "conn-1")
            .set("CARRIERS__TELNYX__BASE_URL", &format!("http://{}/v2", telnyx.addr()))
    })
    .await;
    let carrier = carrier().await;
    let plans = server.api.get("rate-plans").await;
    server.api.put(&format!("rate-plans/{}/rates", text(&plans, "/data/0/id")), "text/csv", DECK).await;

    // Ann signs up, and has a company.
    let account = json!({"email": "ann@hillside.example", "password": "nine lives of a cat", "name": "Ann", "tenant_name": "Hillside"});
    let account = server.api.post("auth/register", &account).await;
    let ann = server.api.with_key(text(&account, "/tokens/access_token"));
    assert_eq!(ann.get("billing/balance").await["available_micros"], 0);

    // She buys credit; Stripe tells of it three times.
    let bought = ann.post("billing/top-up", &json!({"amount_minor": 2500})).await;
    let session = text(&bought, "/checkout_url").rsplit('/').next().unwrap_or_default().to_owned();
    let address = ann.base().trim_start_matches("http://").parse().unwrap();
    let endpoint = Endpoint { address, path: "/webhooks/stripe".into(), secret: SECRET.into(), times: 1 };
    for event in stripe.pay(&session) {
        for _ in 0..3 {
            assert_eq!(deliver(&endpoint, &event).await.unwrap(), 200);
        }
    }
    assert_eq!(ann.get("billing/balance").await["available_micros"], CREDIT);

    // A number, an agent, and a trunk by which its calls come.
    let offers = ann.get("numbers/available?country=US").await;
    let e164 = text(&offers, "/data/0/e164").to_owned();
    let rent = offers["data"][0]["monthly_micros"].as_i64().unwrap();
    let number = ann.post("numbers", &json!({"e164": e164, "carrier": "telnyx"})).await;
    let number = format!("numbers/{}", text(&number, "/id"));
    until(&ann, &number, |number| number["status"] == "active").await;
    let agent = ann.post("agents", &json!({"name": "Front desk"})).await;
    let gateway = json!({"host": "127.0.0.1", "port": carrier.sip.port(), "cidr": "127.0.0.1/32"});
    let trunk = ann.post("trunks", &json!({"name": "Carrier", "gateways": [gateway]})).await;
    ann.patch(&number, &json!({"trunk_id": trunk["id"]})).await;
    ann.put(&format!("{number}/assign"), "application/json", &json!({"agent_id": agent["id"]}).to_string()).await;

    // Somebody calls the number.
    let heard = Phone::new(&server, &e164, "+14155550177").say("good morning").with("--linger", "3").call().await;
    assert!(voice_ms(&heard.sound.agent) > 1_000, "the agent is heard: {:#}", heard.report);
    let calls = until(&ann, "calls?direction=inbound", |calls| calls["data"][0]["ended_at"].is_string()).await;
    let inbound = &calls["data"][0];
    assert_eq!((&inbound["to"]["address"], &inbound["agent"]["id"]), (&json!(e164), &agent["id"]), "{inbound:#}");
    assert!(!ann.transcript(text(inbound, "/id")).await.is_empty());

    // The company calls the printer.
    let placed = ann.post("calls", &json!({"to": "+14155550100", "from": e164, "agent_id": agent["id"]})).await;
    let outbound = text(&placed, "/id").to_owned();
    ann.until(&outbound, |call| call["status"] == "in_progress").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // And hands the printer over to the manager, whose words they hear.
    let handed =
        ann.post(&format!("calls/{outbound}/transfer"), &json!({"to": "+14155550101", "mode": "bridge"})).await;
    assert!(handed["transfer_id"].is_string(), "{handed}");
    let call =
        ann.until(&outbound, |call| call["ended_at"].is_string() && call["recording"]["state"] != "writing").await;
    let events = ann.events(&outbound).await;
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    for kind in ["call.transfer.started", "call.transfer.bridged", "call.ended"] {
        assert_eq!(kinds.iter().filter(|seen| **seen == kind).count(), 1, "{kind}: {kinds:?}");
    }
    assert_eq!(call["status"], "completed", "{call:#}");

    // What was used is what was paid.
    let spent = |call: &Value| call["cost"]["charged_micros"].as_i64().unwrap();
    let inbound = ann.get(&format!("calls/{}", text(inbound, "/id"))).await;
    let call = ann.until(&outbound, |call| call["cost"]["final"] == true).await;
    assert!(spent(&inbound) > 0 && spent(&call) > 0, "{inbound:#} {call:#}");
    let cost = ann.get(&format!("calls/{outbound}/cost")).await;
    let leg = cost["lines"].as_array().unwrap().iter().find(|line| line["item"] == "transfer_leg");
    assert!(
        leg.is_some_and(|leg| leg["amount_micros"].as_i64().unwrap() > 0),
        "the manager's leg is paid for: {cost:#}"
    );
    let left = CREDIT - rent - spent(&inbound) - spent(&call);
    let balance = ann.get("billing/balance").await;
    assert_eq!((&balance["available_micros"], &balance["held_micros"]), (&json!(left), &json!(0)), "{balance:#}");
    let analysed = until(&ann, &format!("calls/{outbound}/summary"), |analysis| analysis["state"] == "done").await;
    assert_eq!(analysed["engine"], "rules");

    // A month goes by: every day moves to the one before.
    let month_ago = "to_char(to_date(day, 'YYYY-MM-DD') - interval '1 month', 'YYYY-MM-DD')";
    for table in ["usage_daily", "usage_records"] {
        database.sql(&url, &format!("UPDATE {table} SET day = {month_ago}"));
    }
    server.kill().await;
    // What comes round every hour has been done in this one.
    let again =
        "UPDATE jobs SET state = 'queued', run_at = 1, attempts = 0, finished_at = NULL WHERE kind = 'billing.monthly'";
    database.sql(&url, again);
    server.restart().await;
    let ann = server.api.with_key(text(&account, "/tokens/access_token"));
    let invoices = until(&ann, "billing/invoices", |invoices| invoices["data"][0]["id"].is_string()).await;
    let invoice = ann.get(&format!("billing/invoices/{}", text(&invoices, "/data/0/id"))).await;
    assert_eq!(invoice["total_micros"], CREDIT - left, "{invoice:#}");
    let pdf = ann.bytes(&format!("billing/invoices/{}/pdf", text(&invoice, "/id"))).await;
    assert!(pdf.starts_with(b"%PDF-") && pdf.len() > 500);
    assert_eq!(database.sql(&url, "SELECT COUNT(*) FROM invoices"), "1");
    let said = server.check_ledger().await;
    assert!(said.contains("invariants hold"), "{said}");
    let difference = "SELECT COALESCE(SUM(amount_micros), 0) FROM ledger_entries";
    assert_eq!(database.sql(&url, difference), "0", "debits and credits");

    // Nothing that should stay inside has been written down.
    let log = server.log();
    for secret in [
        SECRET,
        "sk_live_day",
        "nine lives of a cat",
        text(&account, "/tokens/refresh_token"),
        &e164[2..],
        "4155550177",
    ] {
        assert!(!log.contains(secret), "the log has {secret}");
    }
}
