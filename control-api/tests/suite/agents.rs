//! Agents: the document, its versions, its parts, and what stands in the way of a change.

use axum::{body::Body, http::header};
use serde_json::{Value, json};

use crate::{
    db::{Db, on_both},
    fake::{Answer, Client},
    invariants,
};

impl Client {
    /// A request with a JSON body and further headers.
    pub(crate) async fn sent(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut request = self.request(method, path).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

/// Makes an agent and gives its path.
pub(crate) async fn made(client: &Client, body: Value) -> (String, Value) {
    let answer = client.post("/api/v1/agents", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let path = answer.header("location").to_owned();
    (path, answer.json())
}

const OTHER: &str = "0193481e-7a10-7000-8000-0000000000d2";

/// Gives the key of the tests to another tenant.
pub(crate) async fn become_another_tenant(db: &Db) {
    db.run(
        "INSERT INTO tenants (id, name, slug, rate_plan_id, created_at, updated_at)
            SELECT '0193481e-7a10-7000-8000-0000000000d2', 'Other', 'other', rate_plan_id, 1, 1 FROM tenants LIMIT 1",
    )
    .await;
    db.run("UPDATE api_keys SET tenant_id = '0193481e-7a10-7000-8000-0000000000d2'").await;
}

on_both! {
    async fn row_6_a_bare_name_is_an_agent_with_all_defaults(db) {
        let client = Client::new(&db);
        let answer = client.post("/api/v1/agents", json!({"name": "x"})).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (201, "\"1\""), "{}", answer.text());
        let agent = answer.json();
        assert_eq!((&agent["version"], &agent["turn"]["end"]["silence_ms"], &agent["tts"]["voice"]), (&json!(1), &json!(500), &json!("builtin:slt")));
        assert_eq!(client.get(answer.header("location")).await.json(), agent);
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'agent.created'").await, 1);
        invariants::hold(&db).await;
    }

    async fn row_4_and_5_what_the_server_sets_and_what_nobody_knows_is_refused_by_its_name(db) {
        let client = Client::new(&db);
        for (body, expected) in [
            (json!({"name": "x", "tenant_id": "other", "version": 99}), ("read_only_field", "tenant_id")),
            (json!({"name": "x", "promt": {}}), ("unknown_field", "promt")),
            (json!({"name": "x", "turn": {"end": {"silence_msec": 1}}}), ("unknown_field", "turn.end.silence_msec")),
            (json!({"name": "x", "tools": [{"id": OTHER, "name": "a", "kind": "hang_up"}]}), ("read_only_field", "tools[0].id")),
            (json!({"name": "x", "llm": {"settings": {"base_url": "http://169.254.169.254"}}}), ("validation_failed", "llm.settings.base_url")),
            (json!({"name": "x", "stt": {"provider": "cartesia"}}), ("validation_failed", "stt.provider")),
            (json!({"name": "x", "greeting": {"text": "{{nobody}}"}}), ("validation_failed", "greeting.text")),
            (json!({}), ("validation_failed", "name")),
        ] {
            let (status, code, field) = client.post("/api/v1/agents", body.clone()).await.error();
            assert_eq!((status, code.as_str(), field.as_deref()), (400, expected.0, Some(expected.1)), "{body}");
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM agents").await, 0);
    }

    async fn all_faults_come_at_once_with_their_limits(db) {
        let client = Client::new(&db);
        let answer = client.post("/api/v1/agents", json!({"name": "", "limits": {"max_duration_ms": 1}, "reocrding": {}})).await;
        let error = answer.json()["error"].clone();
        assert_eq!((error["code"].as_str(), error["field"].as_str()), (Some("unknown_field"), Some("reocrding")));
        let fields: Vec<_> = error["details"].as_array().unwrap().iter().map(|detail| detail["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["reocrding", "name", "limits.max_duration_ms"]);
        assert_eq!(error["details"][2]["message"], "must be 10000 to 43200000, not 1");
        let verdict = client.post("/api/v1/agents/validate", json!({"name": "x", "consent": {"mode": "announce"}})).await.json();
        assert_eq!((&verdict["valid"], &verdict["warnings"][0]["field"]), (&json!(true), &json!("consent")));
        let verdict = client.post("/api/v1/agents/validate", json!({"name": ""})).await.json();
        assert_eq!((&verdict["valid"], &verdict["errors"][0]["field"]), (&json!(false), &json!("name")));
    }

    async fn row_9_putting_back_what_was_read_changes_nothing(db) {
        let client = Client::new(&db);
        let (path, agent) = made(&client, json!({"name": "Desk", "consent": {"mode": "announce"},
            "tools": [{"name": "bye", "kind": "hang_up"}]})).await;
        assert_eq!(agent["warnings"][0]["field"], "consent");
        let read = client.get(&path).await;
        let same = client.put(&path, read.json()).await;
        assert_eq!((same.status.as_u16(), same.header("etag")), (200, "\"1\""), "{}", same.text());
        let mut edited = read.json();
        edited["description"] = "changed".into();
        edited["version_note"] = "because".into();
        let changed = client.put(&path, edited).await;
        assert_eq!((changed.header("etag"), changed.json()["description"].as_str()), ("\"2\"", Some("changed")));
        assert_eq!(changed.json()["tools"][0]["id"], agent["tools"][0]["id"]);
        // PUT replaces: what is left out is a default again, and a tool keeps its id by its name.
        let bare = client.put(&path, json!({"name": "Desk", "tools": [{"name": "bye", "kind": "hang_up"}]})).await.json();
        assert_eq!((&bare["version"], &bare["consent"]["mode"], &bare["description"]), (&json!(3), &json!("none"), &json!("")));
        assert_eq!(bare["tools"][0]["id"], agent["tools"][0]["id"]);
        let mut wrong = bare.clone();
        wrong["created_at"] = "2026-01-01T00:00:00.000Z".into();
        assert_eq!(client.put(&path, wrong).await.error(), (400, "read_only_field".into(), Some("created_at".into())));
        let versions = client.get(&format!("{path}/versions")).await.json();
        let notes: Vec<_> = versions["data"].as_array().unwrap().iter().map(|version| (version["version"].as_i64().unwrap(), version["note"].as_str())).collect();
        assert_eq!(notes, [(3, None), (2, Some("because")), (1, None)]);
        invariants::hold(&db).await;
    }

    async fn a_patch_merges_and_null_is_the_default(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk", "labels": {"team": "a", "site": "b"}, "llm": {"temperature": 1.5}})).await;
        let patched = client.patch(&path, json!({"labels": {"team": null, "floor": "2"}, "llm": null})).await.json();
        assert_eq!(patched["labels"], json!({"site": "b", "floor": "2"}));
        assert_eq!((&patched["llm"]["temperature"], &patched["version"]), (&json!(0.4), &json!(2)));
        assert_eq!(client.patch(&path, json!({})).await.header("etag"), "\"2\"");
        let refused = client.patch(&path, json!({"llm": {"temperature": 3}})).await;
        assert_eq!(refused.error(), (400, "validation_failed".into(), Some("llm.temperature".into())));
    }

    async fn row_10_a_stale_etag_changes_nothing(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk"})).await;
        assert_eq!(client.sent("PATCH", &path, &[("if-match", "\"1\"")], &json!({"description": "a"})).await.status, 200);
        let stale = client.sent("PUT", &path, &[("if-match", "\"1\"")], &json!({"name": "late"})).await;
        assert_eq!((stale.error().0, stale.error().1.as_str()), (412, "version_conflict"));
        let stale = client.sent("DELETE", &path, &[("if-match", "\"1\"")], &json!({})).await;
        assert_eq!(stale.error().0, 412);
        assert_eq!(client.get(&path).await.json()["name"], "Desk");
        assert_eq!(db.number("SELECT COUNT(*) FROM agent_versions").await, 2);
    }

    async fn twenty_writers_make_twenty_versions(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk"})).await;
        let client = std::sync::Arc::new(client);
        let changes: Vec<_> = (0..20)
            .map(|n| {
                let (client, path) = (client.clone(), path.clone());
                tokio::spawn(async move { client.patch(&path, json!({"labels": {format!("k{n}"): "v"}})).await.status.as_u16() })
            })
            .collect();
        for change in changes {
            assert_eq!(change.await.unwrap(), 200);
        }
        let agent = client.get(&path).await.json();
        assert_eq!((agent["version"].as_i64(), agent["labels"].as_object().unwrap().len()), (Some(21), 20));
        invariants::hold(&db).await;
    }

    async fn agents_are_found_by_name_and_label_page_by_page(db) {
        let client = Client::new(&db);
        for n in 0..7 {
            made(&client, json!({"name": format!("Desk {n}% off_"), "labels": {"team": if n % 2 == 0 { "even" } else { "odd" }}})).await;
        }
        let names = |body: Value| body["data"].as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap()[..6].to_owned()).collect::<Vec<_>>();
        assert_eq!(names(client.get("/api/v1/agents?label.team=odd&order=asc").await.json()), ["Desk 1", "Desk 3", "Desk 5"]);
        assert_eq!(names(client.get("/api/v1/agents?q=DESK+4%25").await.json()), ["Desk 4"]);
        assert_eq!(names(client.get("/api/v1/agents?q=4%5F").await.json()), Vec::<String>::new());
        let first = client.get("/api/v1/agents?label.team=even&limit=3").await.json();
        assert_eq!(names(first.clone()), ["Desk 6", "Desk 4", "Desk 2"]);
        let cursor = first["next_cursor"].as_str().unwrap();
        let rest = client.get(&format!("/api/v1/agents?label.team=even&limit=3&cursor={cursor}")).await.json();
        assert_eq!((names(rest.clone()), &rest["next_cursor"]), (vec!["Desk 0".to_owned()], &Value::Null));
        assert_eq!(client.get(&format!("/api/v1/agents?limit=3&cursor={cursor}")).await.error().1, "invalid_cursor");
        assert_eq!(client.get("/api/v1/agents?lable.team=odd").await.error(), (400, "unknown_parameter".into(), Some("lable.team".into())));
    }

    async fn row_38_an_agent_in_use_is_deleted_only_when_asked_twice(db) {
        let client = Client::new(&db);
        let (path, agent) = made(&client, json!({"name": "Desk"})).await;
        let id = agent["id"].as_str().unwrap();
        sqlx::query("INSERT INTO numbers (id, tenant_id, e164, carrier, country, status, agent_id, created_at, updated_at)
                     VALUES ('n1', $1, '+12125550100', 'none', 'US', 'active', $2, 1, 1)")
            .bind(db.tenant.to_string()).bind(id).execute(&db.raw).await.unwrap();
        let refused = client.delete(&path).await;
        assert_eq!((refused.error().0, refused.error().1.as_str()), (409, "in_use"));
        assert_eq!(refused.json()["error"]["details"], json!([{"field": "number", "code": "n1", "message": "+12125550100"}]));
        assert_eq!(client.delete(&format!("{path}?detach=true")).await.status, 204);
        assert_eq!(client.get(&path).await.error().0, 404);
        assert_eq!(db.number("SELECT COUNT(*) FROM numbers WHERE agent_id IS NULL").await, 1);
        assert_eq!(client.get("/api/v1/agents").await.json()["data"], json!([]));
        assert_eq!(client.get("/api/v1/agents?archived=true").await.json()["data"][0]["name"], "Desk");
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'agent.deleted'").await, 1);
        invariants::hold(&db).await;
    }

    async fn row_38_a_flow_is_compiled_before_it_is_stored(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk", "mode": "flow"})).await;
        let flow = format!("{path}/flow");
        let broken = json!({"start": "a", "states": {"a": {"say": "Hi", "go": "nowhere"}}});
        let refused = client.put(&flow, broken).await;
        assert_eq!(refused.error(), (400, "flow_invalid".into(), Some("flow.states.a".into())));
        assert!(refused.text().contains("nowhere"), "{}", refused.text());
        assert_eq!(client.get(&flow).await.json(), Value::Null);
        let good = json!({"start": "a", "states": {"a": {"say": "Hi", "go": "b"}, "b": {"end": true}}});
        let stored = client.put(&flow, good.clone()).await;
        assert_eq!((stored.json(), stored.header("etag")), (good.clone(), "\"2\""));
        // A flow is replaced, not merged, and may be written in TOML.
        let toml = "start = \"c\"\n[states.c]\nsay = \"Bye\"\nend = true\n";
        let request = client.request("PUT", &flow).header("content-type", "application/toml").body(Body::from(toml)).unwrap();
        assert_eq!(client.send(request).await.json(), json!({"start": "c", "states": {"c": {"say": "Bye", "end": true}}}));
        let request = client.request("PUT", &flow).header("content-type", "application/toml").body(Body::from("start =")).unwrap();
        assert_eq!(client.send(request).await.error().1, "malformed_toml");
        assert_eq!(client.put(&format!("{path}/prompt"), json!({"system": "Be {{who}}."})).await.error().2.as_deref(), Some("prompt.system"));
        let prompt = json!({"system": "Be {{who}}.", "variables": {"who": {"default": "brief"}}});
        assert_eq!(client.put(&format!("{path}/prompt"), prompt).await.json()["variables"]["who"]["type"], "string");
    }

    async fn row_38_a_tool_with_an_invalid_schema_is_refused(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk"})).await;
        let tool = json!({"name": "t", "kind": "http", "parameters": {"type": "thing"}, "config": {"method": "GET", "url": "https://8.8.8.8/"}});
        let (status, code, field) = client.post(&format!("{path}/tools"), tool).await.error();
        assert_eq!((status, code.as_str(), field.as_deref()), (400, "validation_failed", Some("parameters.type")));
        assert_eq!(db.number("SELECT COUNT(*) FROM agent_versions").await, 1);
    }

    async fn tools_are_changed_one_by_one(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk"})).await;
        let tools = format!("{path}/tools");
        let made = client.post(&tools, json!({"name": "order", "kind": "http", "config": {"method": "GET", "url": "https://api.example.com/{{id}}"}})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let one = made.header("location").to_owned();
        assert_eq!(client.get(&one).await.json()["timeout_ms"], 8000);
        let twice = client.post(&tools, json!({"name": "order", "kind": "hang_up"})).await;
        assert_eq!(twice.error(), (409, "name_taken".into(), Some("name".into())));
        let wrong = client.post(&tools, json!({"name": "b", "kind": "hang_up", "parameters": {"type": "objekt"}})).await;
        assert_eq!(wrong.error(), (400, "validation_failed".into(), Some("parameters.type".into())));
        assert_eq!(client.put(&one, json!({"name": "order", "kind": "hang_up", "id": OTHER})).await.error().1, "read_only_field");
        let put = client.put(&one, json!({"name": "bye", "kind": "hang_up"})).await.json();
        assert_eq!((&put["id"], &put["name"]), (&made.json()["id"], &json!("bye")));
        assert_eq!(client.get(&tools).await.json()["data"].as_array().unwrap().len(), 1);
        assert_eq!(client.delete(&one).await.status, 204);
        assert_eq!(client.get(&one).await.error().0, 404);
        assert_eq!(client.delete(&one).await.error().0, 404);
        invariants::hold(&db).await;
    }

    async fn an_old_version_can_be_read_compared_and_restored(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk", "tools": [{"name": "bye", "kind": "hang_up"}]})).await;
        client.patch(&path, json!({"description": "new", "tools": []})).await;
        assert_eq!(client.get(&format!("{path}?version=1")).await.json()["description"], "");
        assert_eq!(client.get(&format!("{path}?version=9")).await.error().0, 404);
        let diff = client.get(&format!("{path}/versions/2?diff=1")).await.json();
        assert_eq!(diff, json!([{"op": "replace", "path": "/description", "value": "new"}, {"op": "replace", "path": "/tools", "value": []}]));
        let back = client.sent("POST", &format!("{path}/versions/1/restore"), &[], &json!({})).await.json();
        assert_eq!((&back["version"], &back["description"], &back["tools"][0]["name"]), (&json!(3), &json!(""), &json!("bye")));
        assert_eq!(client.get(&format!("{path}/versions")).await.json()["data"][0]["note"], "version 1 restored");
        let copy = client.post(&format!("{path}/clone"), json!({"version": 2})).await.json();
        assert_eq!((&copy["name"], &copy["version"], &copy["description"]), (&json!("Desk (copy)"), &json!(1), &json!("new")));
        invariants::hold(&db).await;
    }

    async fn another_tenants_agent_is_no_agent(db) {
        let client = Client::new(&db);
        let (path, _) = made(&client, json!({"name": "Desk", "tools": [{"name": "bye", "kind": "hang_up"}]})).await;
        become_another_tenant(&db).await;
        let client = Client::new(&db);
        let missing = "/api/v1/agents/0193481e-7a10-7000-8000-0000000000ff";
        let mut answers = Vec::new();
        for path in [path.as_str(), missing, "/api/v1/agents/x"] {
            for (method, rest) in [("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/flow"), ("PUT", "/prompt"),
                ("GET", "/tools"), ("POST", "/tools"), ("GET", "/versions"), ("GET", "/versions/1"), ("POST", "/versions/1/restore"), ("POST", "/clone")] {
                let body = if method == "PUT" && rest.is_empty() { json!({"name": "mine"}) } else { json!({}) };
                let mut answer = client.sent(method, &format!("{path}{rest}"), &[], &body).await.json();
                answer["error"]["request_id"] = "".into();
                answers.push(answer);
            }
        }
        assert!(answers.iter().all(|answer| *answer == answers[0] && answer["error"]["code"] == "not_found"), "{answers:#?}");
        assert_eq!(client.get("/api/v1/agents").await.json()["data"], json!([]));
        assert_eq!(db.number("SELECT COUNT(*) FROM agents WHERE name = 'Desk' AND deleted_at IS NULL AND version = 1").await, 1);
    }

    async fn row_36_odd_texts_are_stored_as_they_are_or_refused_by_their_limit(db) {
        let client = Client::new(&db);
        let whole = |text: &str| json!({"name": text, "description": text, "labels": {"x": text}, "metadata": {"x": text}, "greeting": {"text": text},
            "prompt": {"system": text}, "turn": {"silence": {"prompts": [text]}}, "speech": {"fillers": [text]},
            "tools": [{"name": "bye", "kind": "hang_up", "description": text}]});
        for text in ["=cmd()", "\"><script>", "'; DROP TABLE agents;--", "🦊", "ünï", "a\u{0}b"] {
            let answer = client.post("/api/v1/agents", whole(text)).await;
            if text.contains('\0') && answer.status == 400 {
                continue;
            }
            assert_eq!(answer.status, 201, "{}", answer.text());
            let read = client.get(answer.header("location")).await.json();
            for at in ["/name", "/description", "/labels/x", "/metadata/x", "/greeting/text", "/prompt/system", "/turn/silence/prompts/0", "/speech/fillers/0", "/tools/0/description"] {
                assert_eq!(read.pointer(at), Some(&json!(text)), "{at}");
            }
        }
        let long = client.post("/api/v1/agents", whole(&"x".repeat(10_000))).await;
        assert_eq!(long.status, 400);
        let named: Vec<String> = long.json()["error"]["details"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap().to_owned()).collect();
        for field in ["name", "description", "labels.x", "greeting.text", "tools[0].description"] {
            assert!(named.iter().any(|one| one == field), "{field} is not among {named:?}");
        }
        // 10 000 characters are a prompt.
        assert!(!named.iter().any(|one| one == "prompt.system"));
        invariants::hold(&db).await;
    }

    async fn a_tenant_may_ask_for_if_match_where_there_is_an_etag_of_ones_own(db) {
        let client = Client::new(&db);
        let (path, agent) = made(&client, json!({"name": "Desk", "tools": [{"name": "bye", "kind": "hang_up"}]})).await;
        db.run("UPDATE tenants SET settings = '{\"require_if_match\": true}'").await;
        // A node keeps for a few seconds what it knows of a key.
        let client = Client::new(&db);
        let flow = json!({"start": "a", "states": {"a": {"say": "Bye", "end": true}}});
        for (method, rest, body) in [("PUT", "", json!({"name": "x"})), ("PATCH", "", json!({"name": "x"})), ("DELETE", "", json!({})),
            ("PUT", "/prompt", json!({"system": "x"})), ("PUT", "/flow", flow)] {
            let refused = client.sent(method, &format!("{path}{rest}"), &[], &body).await;
            assert_eq!((refused.error().0, refused.error().1.as_str()), (428, "if_match_required"), "{method} {rest}");
        }
        let tool = format!("{path}/tools/{}", agent["tools"][0]["id"].as_str().unwrap());
        let change = json!({"name": "bye", "kind": "hang_up", "description": "end"});
        assert_eq!(client.put(&tool, change.clone()).await.error().0, 428, "a tool's version is the agent's");
        assert_eq!(client.sent("PUT", &tool, &[("if-match", "\"1\"")], &change).await.status, 200);
        let said = client.sent("PATCH", &path, &[("if-match", "\"2\"")], &json!({"name": "New"})).await;
        assert_eq!((said.status.as_u16(), said.header("etag")), (200, "\"3\""));
    }

    async fn a_call_runs_the_version_that_was_chosen_with_its_variables(db) {
        let client = Client::new(&db);
        let (path, agent) = made(&client, json!({"name": "Desk", "prompt": {"system": "For {{company}}.", "variables": {
            "company": {"default": "Acme"}, "visit": {"type": "date", "required": true}}}})).await;
        let id = agent["id"].as_str().unwrap();
        client.patch(&path, json!({"greeting": {"text": "Hello from two"}})).await;
        let call = |more: Value| {
            let mut body = json!({"to": "sip:a@127.0.0.1", "agent_id": id, "variables": {"visit": "2026-11-21"}});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let placed = client.post("/api/v1/calls", call(json!({}))).await;
        assert_eq!(placed.status, 201, "{}", placed.text());
        let placed = placed.json();
        assert_eq!((&placed["agent"]["id"], &placed["agent"]["version"]), (&json!(id), &json!(2)));
        assert_eq!(placed["variables"], json!({"visit": "2026-11-21", "company": "Acme"}));
        client.post("/api/v1/calls", call(json!({"agent_version": 1}))).await;
        client.post("/api/v1/calls", call(json!({"agent_version": "latest", "overrides": {"greeting": {"text": "Only now"}}}))).await;
        let said: Vec<_> = client.board.dialled.lock().unwrap().iter().map(|call| (call.agent_version, call.agent.greeting.text.clone())).collect();
        assert_eq!(said, [(Some(2), "Hello from two".into()), (Some(1), String::new()), (Some(2), "Only now".into())]);
        for (more, expected) in [
            (json!({"variables": {}}), (400, "validation_failed", "variables.visit")),
            (json!({"variables": {"visit": "soon"}}), (400, "validation_failed", "variables.visit")),
            (json!({"agent_version": 9}), (404, "not_found", "agent_id")),
            (json!({"agent_version": "new"}), (400, "validation_failed", "agent_version")),
            (json!({"overrides": {"greting": {}}}), (400, "unknown_field", "overrides.greting")),
            (json!({"agent_id": OTHER}), (404, "not_found", "agent_id")),
        ] {
            let (status, code, field) = client.post("/api/v1/calls", call(more.clone())).await.error();
            assert_eq!((status, code.as_str(), field.as_deref()), (expected.0, expected.1, Some(expected.2)), "{more}");
        }
        invariants::hold(&db).await;
    }
}
