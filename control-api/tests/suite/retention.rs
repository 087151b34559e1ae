//! What is old goes, each kind by its own rule, and what is money stays.

use std::{sync::Arc, time::Duration};

use control_api::{Background, BackgroundSettings, Clock, Retention, now_ms};
use domain::event::Name;
use serde_json::json;

use crate::{
    db::{Db, on_both},
    fake::{Client, conversation},
    invariants,
    outbox::{all_published, background, write},
};

const DAY: i64 = 86_400_000;

/// Runs the daily job as if `days` had passed.
async fn after(db: &Db, days: i64) {
    let later = now_ms() + days * DAY;
    let settings = BackgroundSettings {
        node: "n2".into(),
        handlers: vec![Arc::new(Retention)],
        clock: Clock::new(move || later),
        ..Default::default()
    };
    let background = Background::start(&db.store, settings).await.unwrap();
    let key = format!("retention@{}", later / DAY);
    for _ in 0..600 {
        let done: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM jobs WHERE dedupe_key = $1 AND state = 'done'")
            .bind(&key)
            .fetch_one(&db.raw)
            .await
            .unwrap();
        if done == 1 {
            background.stop(Duration::from_secs(5)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error: Option<String> = sqlx::query_scalar("SELECT last_error FROM jobs WHERE dedupe_key = $1")
        .bind(&key)
        .fetch_one(&db.raw)
        .await
        .unwrap();
    panic!("retention did not end: {error:?}");
}

async fn caught_up(db: &Db) {
    for _ in 0..600 {
        if db
            .number("SELECT COUNT(*) FROM consumers c JOIN locks l ON l.name = 'publisher' WHERE c.pub_seq = l.fence")
            .await
            == 3
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("consumers do not catch up");
}

async fn count(db: &Db, table: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"))).fetch_one(&db.raw).await.unwrap()
}

on_both! {
    async fn events_go_by_whole_days_and_a_calls_go_together(db) {
        let node = background(&db.store, "n1").await;
        let client = Client::watching(&db, node.hub());
        let call = conversation(&db.journal, db.tenant, now_ms() - 100_000);
        db.journal.flush().await;
        write(&db, db.tenant, Name::AgentCreated, json!({}), Duration::ZERO).await;
        all_published(&db).await;
        caught_up(&db).await;
        // The call began on the day that goes and ended on the one that stays.
        sqlx::query("UPDATE events SET created_at = $1 WHERE call_id IS NOT NULL AND call_seq < 5").bind(now_ms() - 91 * DAY).execute(&db.raw).await.unwrap();
        after(&db, 0).await;
        assert_eq!((count(&db, "events").await, db.number("SELECT pub_seq FROM consumers WHERE name LIKE 'retention:%'").await), (9, 4));
        assert_eq!(client.get("/api/v1/events?after=3").await.error(), (410, "cursor_expired".into(), Some("after".into())));
        assert_eq!(client.get("/api/v1/events?after=4").await.json()["data"].as_array().unwrap().len(), 5);
        invariants::hold(&db).await;
        after(&db, 91).await;
        let left: Vec<String> = sqlx::query_scalar("SELECT type FROM events").fetch_all(&db.raw).await.unwrap();
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(client.get("/api/v1/events?after=8").await.error().0, 410);
        assert_eq!(client.get(&format!("/api/v1/calls/{call}/events")).await.status, 200);
        // Numbers go on where they were.
        write(&db, db.tenant, Name::AgentUpdated, json!({}), Duration::ZERO).await;
        all_published(&db).await;
        assert_eq!(db.number("SELECT pub_seq FROM events").await, 10);
        invariants::hold(&db).await;
    }

    async fn a_reader_that_is_behind_holds_events_back_and_a_tenant_may_keep_fewer_but_seven_days(db) {
        let node = background(&db.store, "n1").await;
        for _ in 0..4 {
            write(&db, db.tenant, Name::AgentCreated, json!({}), Duration::ZERO).await;
        }
        all_published(&db).await;
        caught_up(&db).await;
        node.stop(Duration::from_secs(5)).await;
        db.run(r#"UPDATE tenants SET settings = '{"retention":{"event_days":1}}'"#).await;
        after(&db, 6).await;
        assert_eq!(count(&db, "events").await, 4);
        db.run("UPDATE consumers SET pub_seq = 0 WHERE name = 'rollups'").await;
        let now = now_ms();
        sqlx::query("INSERT INTO consumers (name, pub_seq, updated_at) VALUES ('slow', 3, $1)").bind(now).execute(&db.raw).await.unwrap();
        after(&db, 9).await;
        assert!(count(&db, "events").await >= 1);
        // Who has not moved for thirty days has gone.
        after(&db, 31).await;
        assert_eq!(count(&db, "events").await, 0);
    }

    async fn after_a_year_a_call_is_a_line_of_the_bill_and_after_three_it_is_gone(db) {
        let ended = now_ms() - 100_000;
        conversation(&db.journal, db.tenant, ended);
        db.journal.flush().await;
        db.run("INSERT INTO sip_messages (call_id, n, sip_call_id, at_us, outgoing, transport, local, peer, message) SELECT id, 1, 'a', 0, 0, 'UDP', 'l', 'p', 'x' FROM calls").await;
        after(&db, 6).await;
        assert_eq!(count(&db, "sip_messages").await, 1);
        after(&db, 8).await;
        assert_eq!((count(&db, "sip_messages").await, count(&db, "turns").await), (0, 3));
        after(&db, 364).await;
        assert_eq!(count(&db, "turns").await, 3);
        after(&db, 366).await;
        assert_eq!((count(&db, "turns").await, count(&db, "calls").await), (0, 1));
        let row: (String, String, Option<String>, i64) = sqlx::query_as("SELECT from_addr, variables, config, duration_ms FROM calls").fetch_one(&db.raw).await.unwrap();
        assert_eq!((row.0.contains("5550"), row.1.as_str(), row.2, row.3), (false, "{}", None, 60_000), "{}", row.0);
        assert_eq!(db.number("SELECT COUNT(*) FROM call_legs WHERE address LIKE '%5550%'").await, 0);
        invariants::hold(&db).await;
        after(&db, 3 * 365 + 1).await;
        assert_eq!((count(&db, "calls").await, count(&db, "call_legs").await), (0, 0));
        invariants::hold(&db).await;
    }

    async fn deliveries_jobs_keys_sessions_and_the_audit_log_go_in_their_time(db) {
        let tenant = db.tenant.to_string();
        sqlx::query("INSERT INTO webhooks (id, tenant_id, url, sealed_secret, enabled, created_at, updated_at) VALUES ('w', $1, 'u', 's', 0, 0, 0)").bind(&tenant).execute(&db.raw).await.unwrap();
        let now = now_ms();
        for (id, state, delivered) in [("delivered", "delivered", Some(now)), ("dead", "dead", None)] {
            sqlx::query("INSERT INTO webhook_deliveries (id, webhook_id, tenant_id, event_id, type, state, attempts, delivered_at, created_at) VALUES ($1, 'w', $2, $1, 't', $3, 1, $4, $5)")
                .bind(id).bind(&tenant).bind(state).bind(delivered).bind(now).execute(&db.raw).await.unwrap();
            sqlx::query("INSERT INTO webhook_attempts (delivery_id, n, started_at, duration_ms) VALUES ($1, 1, $2, 1)").bind(id).bind(now).execute(&db.raw).await.unwrap();
            sqlx::query("INSERT INTO jobs (id, kind, dedupe_key, state, run_at, created_at, finished_at) VALUES ($1, 'k', $1, $2, 0, 0, $3)")
                .bind(id).bind(if id == "dead" { "dead" } else { "done" }).bind(now).execute(&db.raw).await.unwrap();
        }
        sqlx::query("INSERT INTO idempotency_keys (tenant_id, key, fingerprint, state, locked_until, created_at, expires_at) VALUES ($1, 'k', 'f', 'done', 0, 0, $2)").bind(&tenant).bind(now + DAY).execute(&db.raw).await.unwrap();
        sqlx::query("INSERT INTO audit_log (id, tenant_id, actor_kind, actor_id, action, object_kind, created_at) VALUES ('a', $1, 'key', 'k', 'x', 'y', $2)").bind(&tenant).bind(now).execute(&db.raw).await.unwrap();
        sqlx::query("INSERT INTO users (id, email, email_key, name, created_at, updated_at) VALUES ('u', 'e', 'e', 'n', 0, 0)").execute(&db.raw).await.unwrap();
        sqlx::query("INSERT INTO sessions (id, user_id, tenant_id, refresh_hash, created_at, rotated_at, expires_at) VALUES ('s', 'u', $1, $2, 0, 0, $3)").bind(&tenant).bind("0".repeat(64)).bind(now).execute(&db.raw).await.unwrap();
        sqlx::query("INSERT INTO one_time_tokens (token_hash, kind, expires_at) VALUES ('t', 'ws_ticket', $1)").bind(now).execute(&db.raw).await.unwrap();
        let at = async |days: i64| {
            after(&db, days).await;
            let jobs = db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'k'").await;
            (count(&db, "webhook_attempts").await, count(&db, "webhook_deliveries").await, jobs, count(&db, "idempotency_keys").await,
                count(&db, "sessions").await + count(&db, "one_time_tokens").await, count(&db, "audit_log").await)
        };
        assert_eq!(at(0).await, (2, 2, 2, 1, 2, 1));
        assert_eq!(at(8).await, (2, 2, 1, 0, 2, 1));
        assert_eq!(at(31).await, (0, 2, 1, 0, 0, 1));
        assert_eq!(at(91).await, (0, 1, 0, 0, 0, 1));
        assert_eq!(at(181).await, (0, 0, 0, 0, 0, 1));
        assert_eq!(at(731).await, (0, 0, 0, 0, 0, 0));
    }

    async fn more_than_a_batch_goes_in_one_run(db) {
        let db = Arc::new(db);
        let mut tx = db.begin().await;
        for n in 0..2_500 {
            sqlx::query("INSERT INTO jobs (id, kind, dedupe_key, state, run_at, created_at, finished_at) VALUES ($1, 'k', $1, 'done', 0, 0, 0)")
                .bind(n.to_string()).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        after(&db, 0).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'k'").await, 0);
    }
}
