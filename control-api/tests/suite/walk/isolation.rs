//! Nothing of a tenant is told to another, and nothing of it can be changed by another (API.md §7, 3).

use axum::body::Body;
use sqlx::Row as _;
use uuid::Uuid;

use super::{
    document::{Document, Operation},
    seeds::Seeds,
};
use crate::{
    db::{Db, on_both},
    fake::{Answer, Client},
};

/// The other tenant: its key may do everything in it, and nothing on the platform.
const STRANGER: &str = "0193481e-7a10-7000-8000-0000000000d2";

/// Moves the key of the tests to another tenant; what it made stays where it is.
async fn move_out(db: &Db) -> Client {
    db.run(
        "INSERT INTO tenants (id, name, slug, rate_plan_id, created_at, updated_at)
         SELECT '0193481e-7a10-7000-8000-0000000000d2', 'Other', 'other', rate_plan_id, 1, 1 FROM tenants WHERE slug = 'default'",
    )
    .await;
    // Of the same owner: every live tenant has one.
    db.run(
        "INSERT INTO memberships (tenant_id, user_id, role, created_at)
         SELECT '0193481e-7a10-7000-8000-0000000000d2', user_id, role, 1 FROM memberships WHERE role = 'owner'",
    )
    .await;
    let first = "SELECT scopes FROM api_keys WHERE name = 'first run'";
    let scopes: String = sqlx::query_scalar(first).fetch_one(&db.raw).await.unwrap();
    let mut scopes: Vec<String> = serde_json::from_str(&scopes).unwrap();
    scopes.retain(|scope| !scope.starts_with("platform:") && !scope.starts_with("internal:"));
    let moved = sqlx::query("UPDATE api_keys SET tenant_id = $1, scopes = $2 WHERE name = 'first run'");
    let scopes = serde_json::to_string(&scopes).unwrap();
    let moved = moved.bind(STRANGER).bind(scopes).execute(&db.raw).await.unwrap();
    assert_eq!(moved.rows_affected(), 1);
    Client::new(db)
}

/// Every row of every table that is not the stranger's, as text.
pub(crate) async fn everything(db: &Db) -> Vec<String> {
    let tables = if db.url.starts_with("sqlite") {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    } else {
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1"
    };
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&db.raw).await.unwrap();
    let mut all = Vec::new();
    for table in tables.iter().filter(|name| !name.starts_with('_')) {
        let query = sqlx::AssertSqlSafe(format!("SELECT * FROM {table}"));
        for row in sqlx::query(query).fetch_all(&db.raw).await.unwrap() {
            let cell = |at: usize| {
                let text = row.try_get::<Option<String>, _>(at).map(|value| format!("{value:?}"));
                let number = || row.try_get::<Option<i64>, _>(at).map(|value| format!("{value:?}"));
                let real = || row.try_get::<Option<f64>, _>(at).map(|value| format!("{value:?}"));
                text.or_else(|_| number()).or_else(|_| real()).unwrap_or_else(|_| "?".into())
            };
            let cells: Vec<String> = (0..row.len()).map(cell).collect();
            if !cells.iter().any(|cell| cell.contains(STRANGER)) {
                all.push(format!("{table} {}", cells.join(" ")));
            }
        }
    }
    all.sort();
    all
}

/// Sends an operation as the document describes it.
async fn ask(client: &Client, document: &Document, operation: &Operation, path: &str) -> Answer {
    let mut request = client.request(&operation.method, path).header("if-match", "\"1\"");
    let mut body = Body::empty();
    if operation.body().is_some() {
        request = request.header("content-type", "application/json");
        body = Body::from(operation.example(document).to_string());
    }
    client.send(request.body(body).unwrap()).await
}

/// The answer without what differs between any two answers.
fn told(answer: &Answer, path: &str, values: &[String]) -> (u16, String) {
    let mut text = answer.text().replace(answer.header("x-request-id"), "R").replace(path, "P");
    for value in values {
        text = text.replace(value.as_str(), "V");
    }
    (answer.status.as_u16(), text)
}

on_both! {
    async fn row_3_what_is_anothers_is_as_if_it_were_not(db) {
        let owner = Client::new(&db);
        let seeds = Seeds::sow(&db, &owner).await;
        let stranger = move_out(&db).await;
        let before = everything(&db).await;
        let mut faults = Vec::new();
        let document = Document::read();
        for operation in document.operations().iter().filter(|operation| operation.guarded()) {
            let named = operation.named();
            if named.is_empty() {
                continue;
            }
            let theirs = seeds.values(&named);
            let mut nobodys = theirs.clone();
            nobodys[0] = if theirs[0].starts_with('+') { "+12125559999".into() } else { Uuid::now_v7().to_string() };
            let paths = [operation.filled(&theirs), operation.filled(&nobodys)];
            let [first, second] = [ask(&stranger, &document, operation, &paths[0]).await, ask(&stranger, &document, operation, &paths[1]).await];
            let [first, second] = [told(&first, &paths[0], &theirs), told(&second, &paths[1], &nobodys)];
            if first != second {
                faults.push(format!("{operation}: {first:?}, but for what nobody has {second:?}"));
            } else if first.0 != 404 && first.0 != 403 && operation.method != "DELETE" {
                faults.push(format!("{operation}: {first:?}; it must be a 404, or the document needs an example that comes so far"));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        let after = everything(&db).await;
        let gone: Vec<_> = before.iter().filter(|row| !after.contains(row)).collect();
        let come: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
        assert!(gone.is_empty() && come.is_empty(), "gone {gone:#?}\ncome {come:#?}");
    }

    async fn no_list_and_no_sum_tells_of_another_tenant(db) {
        let owner = Client::new(&db);
        let seeds = Seeds::sow(&db, &owner).await;
        let open: Vec<Operation> = Document::read().operations().into_iter().filter(|operation| {
            operation.guarded() && operation.method == "GET" && operation.named().is_empty()
        }).collect();
        let mut seen = std::collections::BTreeSet::new();
        for operation in &open {
            let text = owner.get(&operation.path).await.text();
            seen.extend(seeds.traces().into_iter().filter(|trace| text.contains(trace)));
        }
        assert!(seen.len() > 4, "the owner must find what was made: {seen:?}");
        let stranger = move_out(&db).await;
        for operation in &open {
            let text = stranger.get(&operation.path).await.text();
            let traces: Vec<_> = seeds.traces().into_iter().filter(|trace| text.contains(trace)).collect();
            assert!(traces.is_empty(), "{operation} tells of {traces:?}: {text}");
        }
    }

    async fn without_a_credential_no_guarded_route_answers(db) {
        let document = Document::read();
        for operation in document.operations().iter().filter(|operation| operation.guarded()) {
            let path = operation.filled(&operation.named().iter().map(|_| Uuid::now_v7().to_string()).collect::<Vec<_>>());
            // Its own client each time: a stranger may not ask often.
            let answer = ask(&Client { key: "st_live_none0000_none".into(), ..Client::new(&db) }, &document, operation, &path).await;
            assert_eq!(answer.error().0, 401, "{operation}: {}", answer.text());
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{operation}");
        }
    }
}
