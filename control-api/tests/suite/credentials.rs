//! Credentials: sealed in the store, never shown, kept while an agent names them.

use serde_json::{Value, json};

use crate::{
    agents::{become_another_tenant, made},
    db::on_both,
    fake::Client,
    invariants,
};

const SECRET: &str = "sk-live-0123456789abcdef4f2a";

async fn stored(client: &Client) -> (String, Value) {
    let body = json!({"provider": "openai", "name": "production", "secret": SECRET});
    let answer = client.post("/api/v1/credentials", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    (answer.header("location").to_owned(), answer.json())
}

on_both! {
    async fn a_secret_goes_in_and_only_its_hint_comes_out(db) {
        let client = Client::new(&db);
        let (path, made) = stored(&client).await;
        assert_eq!((&made["hint"], &made["version"], &made["secret"]), (&json!("…4f2a"), &json!(1), &Value::Null));
        let put = client.put(&path, json!({"provider": "openai", "name": "spare", "base_url": "https://8.8.8.8/v1"})).await;
        assert_eq!((put.json()["name"].as_str(), put.json()["hint"].as_str(), put.header("etag")), (Some("spare"), Some("…4f2a"), "\"2\""));
        let everything = [client.get("/api/v1/credentials").await.text(), put.text(), made.to_string()].concat();
        assert!(!everything.contains(SECRET) && everything.contains("4f2a"));
        for table in ["SELECT sealed FROM credentials", "SELECT COALESCE(diff, '') FROM audit_log", "SELECT data FROM events"] {
            let rows: Vec<String> = sqlx::query_scalar(table).fetch_all(&db.raw).await.unwrap();
            assert!(rows.iter().all(|row| !row.contains(SECRET)), "{table}");
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE object_kind = 'credential'").await, 2);
    }

    async fn an_agents_credential_opens_for_its_call_and_for_no_other_row(db) {
        let client = Client::new(&db);
        let (_, made) = stored(&client).await;
        let id = made["id"].as_str().unwrap();
        let agent = domain::AgentSpec::read(&json!({"name": "x", "llm": {"provider": "openai", "credential_id": id}})).unwrap();
        let key = control_api::NodeKey::from_bytes(&[7; 32]).unwrap();
        let opened = db.store.open_credentials(&key, db.tenant, &agent).await.unwrap();
        assert_eq!(opened[id].secret, SECRET);
        let other = control_api::NodeKey::from_bytes(&[8; 32]).unwrap();
        assert!(db.store.open_credentials(&other, db.tenant, &agent).await.is_err());
        let stranger = domain::TenantId("0193481e-7a10-7000-8000-0000000000d2".parse().unwrap());
        assert!(db.store.open_credentials(&key, stranger, &agent).await.unwrap().is_empty());
        db.run("UPDATE credentials SET id = '0193481e-7a10-7000-8000-0000000000e1'").await;
        let moved = domain::AgentSpec::read(&json!({"name": "x", "llm": {"credential_id": "0193481e-7a10-7000-8000-0000000000e1"}})).unwrap();
        assert!(db.store.open_credentials(&key, db.tenant, &moved).await.is_err());
    }

    async fn a_credential_that_an_agent_names_stays(db) {
        let client = Client::new(&db);
        let (path, made_credential) = stored(&client).await;
        let id = made_credential["id"].as_str().unwrap();
        let (agent, _) = made(&client, json!({"name": "Desk", "llm": {"provider": "openai", "credential_id": id}})).await;
        let refused = client.delete(&path).await;
        assert_eq!((refused.error().0, refused.error().1.as_str()), (409, "in_use"));
        assert_eq!(refused.json()["error"]["details"][0]["message"], "Desk");
        assert_eq!(client.patch(&agent, json!({"llm": null})).await.status, 200);
        assert_eq!(client.delete(&path).await.status, 204);
        let gone = client.patch(&agent, json!({"stt": {"credential_id": id}})).await;
        assert_eq!(gone.error(), (400, "validation_failed".into(), Some("stt.credential_id".into())));
        invariants::hold(&db).await;
    }

    async fn bad_credentials_are_named(db) {
        let client = Client::new(&db);
        for (body, expected) in [
            (json!({"provider": "acme", "name": "x", "secret": "s"}), ("validation_failed", "provider")),
            (json!({"provider": "openai", "name": "", "secret": "s"}), ("validation_failed", "name")),
            (json!({"provider": "openai", "name": "x"}), ("validation_failed", "secret")),
            (json!({"provider": "openai", "name": "x", "secret": "a\nb"}), ("validation_failed", "secret")),
            (json!({"provider": "openai", "name": "x", "secret": "s", "base_url": "https://169.254.169.254/v1"}), ("url_forbidden", "base_url")),
            (json!({"provider": "openai", "name": "x", "secret": "s", "base_url": "http://127.0.0.1"}), ("url_forbidden", "base_url")),
            (json!({"provider": "openai", "name": "x", "secret": "s", "hint": "x"}), ("read_only_field", "hint")),
        ] {
            let (status, code, field) = client.post("/api/v1/credentials", body.clone()).await.error();
            assert_eq!((status, code.as_str(), field.as_deref()), (400, expected.0, Some(expected.1)), "{body}");
        }
        stored(&client).await;
        let twice = client.post("/api/v1/credentials", json!({"provider": "openai", "name": "production", "secret": "s"})).await;
        assert_eq!(twice.error(), (409, "name_taken".into(), Some("name".into())));
    }

    async fn another_tenants_credential_is_none(db) {
        let client = Client::new(&db);
        let (path, made) = stored(&client).await;
        become_another_tenant(&db).await;
        let client = Client::new(&db);
        assert_eq!(client.delete(&path).await.error().0, 404);
        assert_eq!(client.put(&path, json!({"provider": "openai", "name": "mine"})).await.error().0, 404);
        assert_eq!(client.get("/api/v1/credentials").await.json()["data"], json!([]));
        let body = json!({"name": "x", "llm": {"provider": "openai", "credential_id": made["id"]}});
        let foreign = client.post("/api/v1/agents", body).await;
        let random = client.post("/api/v1/agents", json!({"name": "x", "llm": {"provider": "openai", "credential_id": "0193481e-7a10-7000-8000-0000000000ff"}})).await;
        assert_eq!(foreign.error(), random.error());
        assert_eq!(foreign.error(), (400, "validation_failed".into(), Some("llm.credential_id".into())));
    }
}
