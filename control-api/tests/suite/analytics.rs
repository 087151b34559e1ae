//! Exports, files, statistics and analytics over HTTP.

use axum::{body::Body, http::Request};
use control_api::{AfterSettings, Background, BackgroundSettings, Entry, FilesSettings, Hub, Settings, after_call};
use domain::{Direction, EndedReason};
use serde_json::{Value, json};

use crate::{
    after::talk,
    db::{Db, on_both},
    fake::{Answer, Client, call_id, conversation, ended, new_call, status},
    invariants,
    mail::until,
};

fn files(db: &Db) -> FilesSettings {
    FilesSettings { dir: db.folder.join("files") }
}

async fn start(db: &Db) -> (Background, Client) {
    let after = AfterSettings { files: files(db), ..AfterSettings::default() };
    let settings = BackgroundSettings {
        node: "n1".into(),
        handlers: after_call(&after).unwrap(),
        ..BackgroundSettings::default()
    };
    let background = Background::start(&db.store, settings).await.unwrap();
    (background, Client::with(db, &Hub::new(0), Settings { files: files(db), ..Settings::default() }))
}

/// Waits for a file and fetches it by its link, without a key.
async fn fetch(client: &Client, ordered: &Answer) -> String {
    assert_eq!(ordered.status, 202, "{}", ordered.text());
    let path = ordered.header("location").to_owned();
    for _ in 0..400 {
        let file = client.get(&path).await.json();
        if let Some(url) = file["url"].as_str() {
            let answer = client.send(Request::get(url).body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status.as_u16(), answer.bytes.len() as u64), (200, file["bytes"].as_u64().unwrap()));
            return answer.text();
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the file never came: {}", client.get(&path).await.text());
}

async fn nasty_lead(client: &Client, name: &str) {
    assert_eq!(client.post("/api/v1/leads", json!({"name": name, "phone": "+12125550123"})).await.status, 201);
}

fn pick<'a>(rows: &'a Value, key: &str, value: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|row| row[key] == value).unwrap_or_else(|| panic!("no {value}: {rows}"))
}

on_both! {
    async fn calls_are_exported_into_a_file_that_a_link_opens(db) {
        let (_background, client) = start(&db).await;
        for n in 0..3 {
            conversation(&db.journal, db.tenant, 1_000_000 + n);
        }
        let busy = call_id();
        db.journal.write(busy, Entry::Created(Box::new(new_call(db.tenant, Direction::Outbound, 2_000_000))));
        db.journal.write(busy, ended(EndedReason::Canceled, 2_000_001));
        db.journal.flush().await;
        let ordered = client.post("/api/v1/calls/export", json!({"format": "csv", "filter": {"status": "completed"}, "columns": ["id", "from.address", "duration_ms"]})).await;
        let text = fetch(&client, &ordered).await;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (4, "id,from.address,duration_ms"));
        // A number begins with + and would be a formula.
        assert!(lines[1].ends_with(",\"'+12125550123\",60000"), "{}", lines[1]);
        let ordered = client.post("/api/v1/calls/export", json!({"format": "jsonl", "include": ["transcript", "analysis"], "created_before": "1970-01-01T00:30:00Z"})).await;
        let text = fetch(&client, &ordered).await;
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((text.lines().count(), &first["transcript"][1]["text"], &first["status"]), (3, &json!("Friday at three"), &json!("completed")));
        until(&db, "SELECT COUNT(*) FROM events WHERE type = 'export.ready'", 2).await;
        for (body, field) in [
            (json!({"format": "xml"}), "format"), (json!({"format": "csv", "columns": ["id", "password"]}), "columns"),
            (json!({"format": "csv", "include": ["secrets"]}), "include"), (json!({"format": "csv", "filter": {"status": "done"}}), "status"),
            (json!({"format": "csv", "filter": {"colour": "red"}}), "filter.colour"),
        ] {
            let (status, _, named) = client.post("/api/v1/calls/export", body.clone()).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(field)), "{body}");
        }
        invariants::hold(&db).await;
    }

    async fn a_file_link_is_bound_to_its_file_and_time(db) {
        let (_background, client) = start(&db).await;
        let ordered = client.post("/api/v1/calls/export", json!({"format": "csv"})).await;
        fetch(&client, &ordered).await;
        let file = client.get(ordered.header("location")).await.json();
        let url = file["url"].as_str().unwrap();
        let open = async |url: String| client.send(Request::get(url).body(Body::empty()).unwrap()).await.error().0;
        assert_eq!(open(url.replace("expires=1", "expires=2")).await, 403);
        let last = url.chars().last().unwrap();
        assert_eq!(open(format!("{}{}", &url[..url.len() - 1], if last == '0' { '1' } else { '0' })).await, 403);
        assert_eq!(open(url.replace(file["id"].as_str().unwrap(), &call_id().to_string())).await, 403);
        assert_eq!(client.get(&format!("/api/v1/files/{}", call_id())).await.error().0, 404);
        assert_eq!(client.get("/api/v1/files/..%2F..%2Fetc").await.error().0, 404);
        db.run("UPDATE files SET expires_at = 1").await;
        assert_eq!(client.get(ordered.header("location")).await.json()["state"], "expired");
        assert_eq!(open(url.to_owned()).await, 410);
    }

    async fn leads_are_exported_at_once_and_no_cell_is_a_formula(db) {
        let client = Client::new(&db);
        let names = ["=cmd()", "@SUM(A1)", "-1", "\"><script>", "a,b", "emoji \u{1f600}"];
        for name in names {
            nasty_lead(&client, name).await;
        }
        let csv = client.get("/api/v1/leads/export").await;
        assert_eq!((csv.status.as_u16(), csv.header("content-type"), csv.header("content-disposition")), (200, "text/csv; charset=utf-8", "attachment; filename=\"leads.csv\""));
        let text = csv.text();
        assert_eq!(text.lines().count(), names.len() + 1);
        for cell in [",\"'=cmd()\",", ",\"'@SUM(A1)\",", ",\"'-1\",", ",\"\"\"><script>\",", ",\"a,b\",", ",emoji \u{1f600},", ",\"'+12125550123\","] {
            assert!(text.contains(cell), "{cell}: {text}");
        }
        assert!(!text.split([',', '\n']).any(|cell| cell.trim_matches('"').starts_with(['=', '+', '@', '-'])), "{text}");
        let jsonl = client.get("/api/v1/leads/export?format=jsonl&q=script").await;
        let row: Value = serde_json::from_slice(&jsonl.bytes).unwrap();
        assert_eq!(row["name"], "\"><script>");
        assert_eq!(client.get("/api/v1/leads/export?format=xml").await.error().0, 400);
    }

    async fn roll_ups_answer_what_happened(db) {
        let (_background, client) = start(&db).await;
        let at = 1_795_221_552_123; // 2026-11-21T00:39:12Z
        for n in 0..3 {
            conversation(&db.journal, db.tenant, at + n * 3_600_000);
        }
        let busy = call_id();
        db.journal.write(busy, Entry::Created(Box::new(new_call(db.tenant, Direction::Outbound, at))));
        db.journal.write(busy, status(domain::Status::Initiating, at + 1));
        db.journal.write(busy, ended(EndedReason::Busy, at + 2));
        talk(&db, &json!({"name": "x"}), &["A: Hello?", "C: this is terrible i want to book an appointment", "C: book it"]);
        db.journal.flush().await;
        until(&db, "SELECT CAST(COALESCE(SUM(calls), 0) AS BIGINT) FROM call_rollup", 5).await;
        until(&db, "SELECT CAST(SUM(positive + neutral + negative) AS BIGINT) FROM call_rollup", 4).await;
        let range = "from=2026-11-20T00:00:00Z&to=2026-11-22T00:00:00Z";

        let stats = client.get(&format!("/api/v1/calls/stats?{range}")).await.json();
        assert_eq!((&stats["totals"]["calls"], &stats["totals"]["answered"], &stats["totals"]["asr_pct"]), (&json!(5), &json!(4), &json!(80.0)));
        assert_eq!(pick(&stats["groups"], "group", "busy")["calls"], 1);
        let by_day = client.get(&format!("/api/v1/calls/stats?{range}&group_by=day&timezone=America/New_York")).await.json();
        // 00:39 in London is still yesterday in New York.
        assert_eq!(pick(&by_day["groups"], "group", "2026-11-20T05:00:00.000Z")["calls"], 5);
        assert_eq!(client.get("/api/v1/calls/stats?group_by=mood").await.error().2.as_deref(), Some("group_by"));

        let overview = client.get(&format!("/api/v1/analytics/overview?{range}")).await.json();
        assert_eq!((&overview["calls"], &overview["active_now"], &overview["answered_pct"], &overview["minutes"]), (&json!(5), &json!(0), &json!(80.0), &json!(4.0)));
        let told = overview["v2v_p50_ms"].as_f64().unwrap();
        assert!((told / 840.0 - 1.0).abs() < 0.015, "{told}");
        assert_eq!((&overview["sentiment"]["negative"], &overview["vs_previous"]["calls_pct"]), (&json!(1), &Value::Null));

        let calls = client.get(&format!("/api/v1/analytics/calls?{range}&bucket=hour")).await.json();
        let first = pick(&calls["series"], "at", "2026-11-21T00:00:00.000Z");
        assert_eq!((&first["calls"], &first["busy"], &first["inbound"], &first["outbound"]), (&json!(3), &json!(1), &json!(2), &json!(1)));

        let latency = client.get("/api/v1/analytics/latency?from=2026-01-01&to=2027-01-30T00:00:00Z").await.json();
        assert_eq!((&latency["stages"]["voice_to_voice"]["n"], &latency["stages"]["own_overhead"]["p50"]), (&json!(3), &json!(12)));

        let sentiment = client.get(&format!("/api/v1/analytics/sentiment?{range}")).await.json();
        assert_eq!((&pick(&sentiment["by_topic"], "of", "booking")["negative"], &sentiment["by_agent"][0]["negative"]), (&json!(1), &json!(1)));

        let agents = client.get(&format!("/api/v1/analytics/agents?{range}")).await.json();
        assert_eq!((&agents["data"][0]["calls"], &agents["data"][0]["interruptions_per_call"]), (&json!(5), &json!(0.6)));
        assert!((agents["data"][0]["v2v_p50_ms"].as_f64().unwrap() / 840.0 - 1.0).abs() < 0.015, "{agents}");

        let costs = client.get(&format!("/api/v1/analytics/costs?{range}")).await.json();
        assert_eq!((&costs["charged_micros"], &costs["margin_micros"]), (&json!(0), &json!(0)));

        for (query, field) in [("bucket=year", "bucket"), ("from=2020-01-01", "from"), ("timezone=Mars", "timezone"), ("colour=red", "colour")] {
            assert_eq!(client.get(&format!("/api/v1/analytics/overview?{query}")).await.error().2.as_deref(), Some(field), "{query}");
        }
        invariants::hold(&db).await;
    }

    async fn a_report_groups_what_it_is_asked_for(db) {
        let (_background, client) = start(&db).await;
        for n in 0..2 {
            conversation(&db.journal, db.tenant, 1_795_221_552_123 + n);
        }
        until(&db, "SELECT CAST(COALESCE(SUM(calls), 0) AS BIGINT) FROM call_rollup", 2).await;
        let body = json!({"metrics": ["calls", "answered_pct"], "group_by": ["day", "direction"], "from": "2026-11-20", "to": "2026-11-22"});
        let report = client.post("/api/v1/analytics/report", body.clone()).await.json();
        assert_eq!(report["rows"], json!([{"day": "2026-11-21T00:00:00.000Z", "direction": "inbound", "calls": 2, "answered_pct": 100.0}]));
        let mut csv = body.clone();
        csv["format"] = "csv".into();
        let answer = client.post("/api/v1/analytics/report", csv).await;
        assert_eq!(answer.text(), "day,direction,calls,answered_pct\r\n2026-11-21T00:00:00.000Z,inbound,2,100.0\r\n");
        for (field, value) in [("metrics", json!([])), ("metrics", json!(["mood"])), ("group_by", json!(["day", "week", "month", "agent"])), ("format", json!("pdf"))] {
            let mut wrong = body.clone();
            wrong[field] = value;
            assert_eq!(client.post("/api/v1/analytics/report", wrong.clone()).await.error().2.as_deref(), Some(field), "{wrong}");
        }
    }
}
