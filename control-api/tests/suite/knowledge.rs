//! What agents know, with which engines and voices they talk.

use serde_json::json;

use crate::{
    agents::{become_another_tenant, made},
    db::on_both,
    fake::Client,
    invariants,
};

on_both! {
    async fn a_text_answers_questions_until_it_is_forgotten(db) {
        let client = Client::new(&db);
        let (agent, _) = made(&client, json!({"name": "Desk"})).await;
        let path = format!("{agent}/knowledge");
        let text = "We are open from nine to five.\n\nA cleaning costs ninety dollars.\n\nParking is behind the house.";
        let added = client.post(&path, json!({"title": "House", "text": text})).await;
        assert_eq!((added.status.as_u16(), added.json()["status"].as_str()), (202, Some("ready")), "{}", added.text());
        let again = client.post(&path, json!({"title": "Other title", "text": text})).await;
        assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &added.json()["id"]));
        assert_eq!(client.get(&path).await.json()["data"].as_array().unwrap().len(), 1);
        let found = client.post(&format!("{path}/search"), json!({"query": "what are the prices for cleaning?"})).await.json();
        assert!(found["data"][0]["text"].as_str().unwrap().contains("ninety dollars"), "{found}");
        assert_eq!(client.post(&format!("{path}/search"), json!({"query": "x", "top_k": 99})).await.error().2.as_deref(), Some("top_k"));
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'knowledge.ready'").await, 1);
        let copy = client.post(&format!("{agent}/clone"), json!({})).await;
        let known = client.get(&format!("{}/knowledge", copy.header("location"))).await.json();
        assert_eq!(known["data"][0]["title"], "House");
        let one = format!("{path}/{}", added.json()["id"].as_str().unwrap());
        assert_eq!(client.get(&one).await.json()["title"], "House");
        assert_eq!(client.delete(&one).await.status, 204);
        assert_eq!((client.get(&one).await.error().0, client.delete(&one).await.error().0), (404, 404));
        assert_eq!(client.post(&format!("{path}/search"), json!({"query": "cleaning"})).await.json()["data"], json!([]));
        invariants::hold(&db).await;
    }

    async fn files_are_read_by_their_kind_and_refused_by_what_is_wrong(db) {
        let client = Client::new(&db);
        let (agent, _) = made(&client, json!({"name": "Desk"})).await;
        let path = format!("{agent}/knowledge");
        let table = client.upload(&path, "prices.csv", "application/octet-stream", b"service,price\nCut,30\n").await;
        assert_eq!((table.status.as_u16(), table.json()["kind"].as_str()), (202, Some("csv")), "{}", table.text());
        let large = "We sell apples. ".repeat(200_000);
        assert_eq!(client.upload(&path, "large.txt", "text/plain", large.as_bytes()).await.status, 202);
        let found = client.post(&format!("{path}/search"), json!({"query": "price of a cut", "top_k": 1})).await.json();
        assert_eq!(found["data"][0]["text"], "service: Cut; price: 30");
        for (file, kind, content, expected) in [
            ("a.pdf", "application/pdf", &b"%PDF"[..], (415, "unsupported_media_type")),
            ("a.json", "application/json", b"{", (400, "validation_failed")),
            ("a.txt", "text/plain", b" ", (400, "validation_failed")),
            ("a.txt", "text/plain", &[0xff, 0xfe], (400, "validation_failed")),
        ] {
            let (status, code, field) = client.upload(&path, file, kind, content).await.error();
            assert_eq!((status, code.as_str(), field.as_deref()), (expected.0, expected.1, Some("file")), "{file}");
        }
        let huge = vec![b'x'; 11 << 20];
        assert_eq!(client.upload(&path, "huge.txt", "text/plain", &huge).await.error().0, 413);
        assert_eq!(client.post(&path, json!({"title": "", "text": "x"})).await.error().2.as_deref(), Some("title"));
    }

    async fn another_tenants_knowledge_is_none(db) {
        let client = Client::new(&db);
        let (agent, _) = made(&client, json!({"name": "Desk"})).await;
        let path = format!("{agent}/knowledge");
        let added = client.post(&path, json!({"title": "House", "text": "secret"})).await.json();
        become_another_tenant(&db).await;
        let client = Client::new(&db);
        let one = format!("{path}/{}", added["id"].as_str().unwrap());
        assert_eq!(client.get(&path).await.error().0, 404);
        assert_eq!(client.post(&path, json!({"title": "a", "text": "b"})).await.error().0, 404);
        assert_eq!((client.get(&one).await.error().0, client.delete(&one).await.error().0), (404, 404));
        assert_eq!(client.post(&format!("{path}/search"), json!({"query": "secret"})).await.error().0, 404);
        assert_eq!(db.number("SELECT COUNT(*) FROM knowledge_docs").await, 1);
    }

    async fn engines_and_voices_are_listed_and_heard(db) {
        let client = Client::new(&db);
        let providers = client.get("/api/v1/providers").await.json();
        assert_eq!(providers["stt"][1]["settings_schema"]["properties"]["turns"]["type"], "boolean");
        let voices = client.get("/api/v1/voices?q=SL&language=en").await.json();
        assert_eq!((&voices["data"][0]["id"], &voices["incomplete"]), (&json!("builtin:slt"), &json!(["elevenlabs"])));
        assert_eq!(client.get("/api/v1/voices?provider=elevenlabs").await.json()["data"], json!([]));
        let heard = client.post("/api/v1/voices/preview", json!({"voice": "builtin:slt", "text": "Hello"})).await;
        assert_eq!((heard.status.as_u16(), heard.header("content-type"), heard.bytes.len()), (200, "audio/wav", 44 + 5 * 800));
        assert_eq!(&heard.bytes[..4], b"RIFF");
        let unknown = client.post("/api/v1/voices/preview", json!({"voice": "acme:x"})).await;
        assert_eq!(unknown.error(), (400, "validation_failed".into(), Some("voice".into())));
        let failed = client.post("/api/v1/voices/preview", json!({"voice": "builtin:kal"})).await;
        assert_eq!((failed.error().0, failed.error().1.as_str()), (502, "vendor_failed"));
        let mut statuses = Vec::new();
        for n in 0..10 {
            statuses.push(client.post("/api/v1/voices/preview", json!({"voice": "builtin:slt", "text": format!("{n}")})).await.status.as_u16());
        }
        assert_eq!(statuses[..8], [200; 8]);
        assert_eq!(statuses[8..], [429, 429]);
        // What was said before is still there.
        assert_eq!(client.post("/api/v1/voices/preview", json!({"voice": "builtin:slt", "text": "Hello"})).await.status, 200);
    }
}
