//! Where a tenant asks for `If-Match`, nothing that has a version is changed without it (API.md §0).

use axum::body::Body;
use serde_json::json;

use super::{
    document::{Document, Operation},
    seeds::Seeds,
};
use crate::{
    db::{Db, on_both},
    fake::{Answer, Client},
};

/// Everything that has a version and can be replaced, changed or removed. Accounts of people are changed by themselves, not by a key.
fn versioned(document: &Document) -> Vec<Operation> {
    let mut found: Vec<Operation> = document
        .operations()
        .into_iter()
        .filter(|operation| operation.answer(412).is_some() && operation.method != "POST")
        .filter(|operation| !operation.path.starts_with("/api/v1/users/"))
        .collect();
    // What is removed cannot be changed any more; the parts before the whole, the agent before what it names, the tenant last.
    found.sort_by_key(|operation| {
        let last = ["/api/v1/credentials/{id}", "/api/v1/tenants/{id}"].iter().position(|path| operation.path == *path);
        (operation.method == "DELETE", last, std::cmp::Reverse(operation.path.len()))
    });
    found
}

async fn ask(client: &Client, document: &Document, operation: &Operation, path: &str, tag: Option<&str>) -> Answer {
    let mut request = client.request(&operation.method, path);
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    let mut body = Body::empty();
    if operation.body().is_some() {
        request = request.header("content-type", "application/json");
        let shown = match operation.path.as_str() {
            "/api/v1/agents/{id}/tools/{tool_id}" => json!({"name": "bye", "kind": "hang_up"}),
            _ => operation.example(document),
        };
        body = Body::from(shown.to_string());
    }
    client.send(request.body(body).unwrap()).await
}

async fn required(db: &Db) {
    db.run("UPDATE tenants SET settings = '{\"require_if_match\":true}'").await;
}

on_both! {
    async fn where_it_is_required_nothing_is_changed_without_if_match_nor_with_a_stale_one(db) {
        let seeds = Seeds::sow(&db, &Client::new(&db)).await;
        required(&db).await;
        let (client, document) = (Client::new(&db), Document::read());
        let operations = versioned(&document);
        let collections: std::collections::BTreeSet<&str> =
            operations.iter().map(|operation| operation.path.split("/{").next().unwrap()).collect();
        for named in ["agents", "credentials", "dispatch-rules", "email-templates", "leads", "numbers", "rate-plans", "tenants", "trunks", "webhooks"] {
            assert!(collections.contains(format!("/api/v1/{named}").as_str()), "{named} is missing in {collections:?}");
        }
        let mut faults = Vec::new();
        for operation in &operations {
            let path = operation.filled(&seeds.values(&operation.named()));
            for (tag, expected) in [(None, (428, "if_match_required")), (Some("\"999\""), (412, "version_conflict"))] {
                let answer = ask(&client, &document, operation, &path, tag).await;
                if answer.status.as_u16() != expected.0 || answer.error().1 != expected.1 {
                    faults.push(format!("{operation} with {tag:?}: {} {}", answer.status, answer.text()));
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        // With the version that is there it is taken, whatever else the document's example lacks.
        for operation in &operations {
            let path = operation.filled(&seeds.values(&operation.named()));
            let answer = ask(&client, &document, operation, &path, Some("*")).await;
            if matches!(answer.status.as_u16(), 412 | 428) || answer.status.is_server_error() {
                faults.push(format!("{operation}: {} {}", answer.status, answer.text()));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    async fn where_it_is_not_required_a_change_needs_no_if_match(db) {
        let client = Client::new(&db);
        let (seeds, document) = (Seeds::sow(&db, &client).await, Document::read());
        for operation in &versioned(&document) {
            let path = operation.filled(&seeds.values(&operation.named()));
            let answer = ask(&client, &document, operation, &path, None).await;
            assert!(!matches!(answer.status.as_u16(), 412 | 428), "{operation}: {} {}", answer.status, answer.text());
        }
    }
}
