//! The operator's routes and the contract.

use std::{net::SocketAddr, sync::atomic::Ordering};

use axum::{body::Body, extract::ConnectInfo, http::Request};
use serde_json::{Value, json};

use crate::{db::on_both, fake::Client};

fn from(peer: &str, path: &str) -> Request<Body> {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    request
}

on_both! {
    async fn health_is_bare_and_ready_tells_detail_to_the_machine_itself(db) {
        let client = Client::new(&db);
        assert_eq!(client.get("/health").await.json(), json!({"status": "ok"}));
        assert_eq!(client.send(from("203.0.113.9:1000", "/ready")).await.json(), json!({"ready": true}));
        let checks = json!({"store": true, "sip": true, "rtp_ports": true, "disk": true, "draining": false});
        assert_eq!(client.send(from("127.0.0.1:1000", "/ready")).await.json(), json!({"ready": true, "checks": checks}));
        client.board.draining.store(true, Ordering::Relaxed);
        let draining = client.send(from("[::1]:1000", "/ready")).await;
        assert_eq!((draining.status.as_u16(), &draining.json()["checks"]["draining"]), (503, &json!(true)));
        db.store.close().await;
        client.board.draining.store(false, Ordering::Relaxed);
        let away = client.send(from("127.0.0.1:1000", "/ready")).await;
        assert_eq!((away.status.as_u16(), &away.json()["checks"]["store"]), (503, &json!(false)));
        assert_eq!(client.get("/health").await.status, 200);
    }

    async fn metrics_are_for_the_machine_itself_and_for_the_platform(db) {
        let client = Client::new(&db);
        let text = client.send(from("127.0.0.1:1000", "/metrics")).await.text();
        assert!(text.contains("sidetone_calls 0\n") && text.contains("\nsidetone_journal_backlog 0\n"), "{text}");
        assert_eq!(client.send(from("203.0.113.9:1000", "/metrics")).await.error().0, 401);
        assert_eq!(client.get("/metrics").await.status, 200);
        let mut proxied = from("127.0.0.1:1000", "/metrics");
        proxied.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
        assert_eq!(client.send(proxied).await.error().0, 401);
    }

    async fn row_40_the_document_and_the_router_have_the_same_routes(db) {
        let client = Client::new(&db);
        let document = client.get("/openapi.json").await.json();
        assert_eq!(document["openapi"].as_str().unwrap().split('.').next_back().unwrap().len(), 1);
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        assert_eq!(document, serde_json::from_str::<Value>(&control_api::openapi()).unwrap());
        for (path, verbs) in document["paths"].as_object().unwrap() {
            for verb in verbs.as_object().unwrap().keys() {
                let concrete = path.replace("{id}", "0193481e-7a10-7000-8000-0000000000ff");
                let request = Request::builder().method(verb.to_uppercase().as_str()).uri(concrete).body(Body::empty()).unwrap();
                let answer = client.send(request).await;
                let status = answer.status.as_u16();
                // Nobody signs in through others here; that, too, the route itself says.
                assert!(![404, 405, 500].contains(&status) || answer.text().contains("unknown_provider"), "{verb} {path}: {status}");
            }
        }
    }

    async fn the_page_of_the_document_loads_nothing_from_elsewhere(db) {
        let page = Client::new(&db).get("/docs").await.text();
        assert!(page.contains("/openapi.json"));
        assert!(!page.contains("http://") && !page.contains("https://"), "foreign asset");
    }
}
