//! Every route against its own documentation: what it takes, what it answers, and what it makes of nonsense.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use super::{
    document::{Document, Operation},
    schema,
    seeds::{MARK, Seeds},
};
use crate::{
    db::on_both,
    fake::{Answer, Client},
};

/// Values that fit nowhere, or only by accident.
fn nonsense() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0.5),
        json!(9_223_372_036_854_775_807_i64),
        json!(1e300),
        json!(""),
        json!("\u{0}"),
        json!("'; DROP TABLE calls; --"),
        json!("=cmd()|' /C calc'!A0"),
        json!("\u{1F600}\u{202E}"),
        json!("x".repeat(10_000)),
        json!([]),
        json!([[[[null]]]]),
        json!({}),
        json!({"$ref": "#"}),
    ]
}

/// Bodies that are wrong in one place each, made from one that the document shows.
fn wrong_bodies(document: &Document, operation: &Operation) -> Vec<Value> {
    let Some(schema) = operation.body() else { return Vec::new() };
    let right = operation.example(document);
    let mut bodies = nonsense();
    let mut with = |name: &str, value: Value| {
        let mut body = right.clone();
        if let Some(body) = body.as_object_mut() {
            body.insert(name.to_owned(), value);
            bodies.push(Value::Object(body.clone()));
        }
    };
    with("no_such_field", json!(1));
    let known = document.resolve(schema)["properties"].as_object();
    let shown = right.as_object();
    let mut names: Vec<&String> = known.into_iter().chain(shown).flat_map(|fields| fields.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        for value in nonsense() {
            with(name, value);
        }
    }
    bodies
}

/// What an answer does against the documentation.
fn told_otherwise(document: &Document, operation: &Operation, answer: &Answer) -> Option<String> {
    let status = answer.status.as_u16();
    // What the router says of itself before any route is reached.
    if matches!(status, 405 | 413 | 415) && answer.header("content-type").starts_with("application/json") {
        return None;
    }
    if status >= 500 && status != 503 {
        return Some(format!("{status}: {}", answer.text()));
    }
    let Some(documented) = operation.answer(status) else {
        return Some(format!("{status} is not documented: {}", answer.text().chars().take(300).collect::<String>()));
    };
    let content = document.resolve(documented)["content"].as_object();
    let kind = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
    let Some(schema) = content.and_then(|content| content.get(&kind)).map(|media| &media["schema"]) else {
        let documented = content.is_some_and(|content| !content.is_empty());
        return (documented && !answer.bytes.is_empty()).then(|| format!("{status} as {kind} is not documented"));
    };
    if kind != "application/json" {
        return None;
    }
    let faults = schema::faults(document, schema, &answer.json(), "");
    (!faults.is_empty()).then(|| format!("{status}: {}", faults.join("; ")))
}

async fn ask(client: &Client, operation: &Operation, path: &str, body: Option<&Value>) -> Answer {
    let mut request = client.request(&operation.method, path).header("if-match", "\"1\"");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    client.send(request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()).await
}

/// Long polls would wait, and what is deleted cannot be asked again.
fn last(operation: &Operation) -> bool {
    operation.method == "DELETE"
}

on_both! {
    async fn every_route_answers_as_it_is_documented(db) {
        let client = Client::new(&db);
        let seeds = Seeds::sow(&db, &client).await;
        let document = Document::read();
        let mut operations = document.operations();
        operations.sort_by_key(last);
        let mut faults = Vec::new();
        for operation in operations.iter().filter(|operation| operation.guarded()) {
            let path = operation.filled(&seeds.values(&operation.named()));
            let body = operation.body().map(|_| operation.example(&document));
            let answer = ask(&client, operation, &path, body.as_ref()).await;
            faults.extend(told_otherwise(&document, operation, &answer).map(|fault| format!("{operation}: {fault}")));
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    async fn nonsense_is_refused_by_name_and_breaks_nothing(db) {
        // How often one may ask is tested elsewhere.
        db.run("UPDATE api_keys SET rate_per_min = 10000000").await;
        let mut client = Client::new(&db);
        let seeds = Seeds::sow(&db, &client).await;
        let document = Document::read();
        let mut operations = document.operations();
        operations.sort_by_key(last);
        let mut faults = Vec::new();
        for (n, operation) in operations.iter().filter(|operation| operation.guarded() && !last(operation)).enumerate() {
            if n % 10 == 0 {
                // However much a key may ask in a minute, this is more.
                client = Client::new(&db);
            }
            let path = operation.filled(&seeds.values(&operation.named()));
            for body in wrong_bodies(&document, operation) {
                let answer = ask(&client, operation, &path, Some(&body)).await;
                if let Some(fault) = told_otherwise(&document, operation, &answer) {
                    faults.push(format!("{operation} with {}: {fault}", body.to_string().chars().take(200).collect::<String>()));
                }
            }
            for name in operation.parameters().into_iter().chain(["no_such_parameter"]) {
                for value in ["", "%00", "-1", "99999999999999999999", "%F0%9F%98%80", "'%20OR%201=1", "2026-13-45T99:00:00Z", "a,b"] {
                    let answer = ask(&client, operation, &format!("{path}?{name}={value}"), operation.body().map(|_| operation.example(&document)).as_ref()).await;
                    if name == "no_such_parameter" && operation.method == "GET" && answer.status != 400 {
                        faults.push(format!("{operation} takes ?{name}={value}: {}", answer.status));
                    }
                    faults.extend(told_otherwise(&document, operation, &answer).map(|fault| format!("{operation} with ?{name}={value}: {fault}")));
                }
            }
        }
        faults.dedup();
        assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
        crate::invariants::hold(&db).await;
    }

    async fn names_in_paths_lead_nowhere_else(db) {
        let client = Client::new(&db);
        let document = Document::read();
        for operation in document.operations().iter().filter(|operation| operation.guarded() && !operation.named().is_empty()) {
            for name in ["..%2f..%2fetc%2fpasswd", "..", "%00", "0", "null", "%F0%9F%98%80", "'%20OR%20'1'='1", &"9".repeat(4000)] {
                let path = operation.filled(&operation.named().iter().map(|_| name.to_owned()).collect::<Vec<_>>());
                let request = Request::builder().method(operation.method.as_str()).uri(&path);
                let Ok(request) = request.header("authorization", format!("Bearer {}", client.key)).header("if-match", "\"1\"").header("content-type", "application/json").body(Body::from(operation.example(&document).to_string())) else { continue };
                let answer = client.send(request).await;
                assert!(answer.status.is_client_error() || answer.status == 204, "{operation} with {name}: {} {}", answer.status, answer.text());
                assert!(!answer.text().contains(MARK));
            }
        }
    }
}
