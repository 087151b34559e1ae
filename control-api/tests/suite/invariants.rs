//! What must hold after everything: each statement returns no row.

use sqlx::Row as _;

use crate::db::Db;

const INVARIANTS: &[(&str, &str)] = &[
    (
        "ended means ended: time, reason and a final status, all or none",
        "SELECT id FROM calls WHERE (ended_at IS NULL) <> (status NOT IN ('completed','failed','no_answer','busy','canceled')) OR (ended_at IS NOT NULL AND ended_reason IS NULL)",
    ),
    (
        "times go forward; answered if and only if it was in progress",
        "SELECT id FROM calls WHERE (status IN ('in_progress','completed') AND answered_at IS NULL) OR (status IN ('no_answer','busy','canceled') AND answered_at IS NOT NULL) OR answered_at < created_at OR ended_at < COALESCE(answered_at, created_at) OR (ended_at IS NOT NULL AND answered_at IS NOT NULL AND duration_ms <> ended_at - answered_at) OR (answered_at IS NULL AND (duration_ms <> 0 OR billed_s <> 0))",
    ),
    (
        "a call's events are numbered 1..n without a hole",
        "SELECT c.id FROM calls c LEFT JOIN events e ON e.call_id = c.id GROUP BY c.id, c.event_seq HAVING COUNT(e.id) > 0 AND (COUNT(e.id) <> MAX(e.call_seq) OR MIN(e.call_seq) <> 1 OR MAX(e.call_seq) <> c.event_seq)",
    ),
    (
        "every ended call has exactly one call.ended event, no other call has one",
        "SELECT c.id FROM calls c LEFT JOIN events e ON e.call_id = c.id AND e.type = 'call.ended' GROUP BY c.id, c.ended_at HAVING (c.ended_at IS NOT NULL AND COUNT(e.id) <> 1) OR (c.ended_at IS NULL AND COUNT(e.id) <> 0)",
    ),
    (
        "turns are numbered 1..n and inside the call",
        "SELECT t.call_id AS id FROM turns t JOIN calls c ON c.id = t.call_id GROUP BY t.call_id, c.duration_ms, c.ended_at, c.turns HAVING COUNT(*) <> MAX(t.n) OR COUNT(*) <> c.turns OR (c.ended_at IS NOT NULL AND MAX(t.start_ms) > c.duration_ms)",
    ),
    (
        "nobody heard more than was said",
        "SELECT call_id AS id FROM turns WHERE heard_chars IS NOT NULL AND (heard_chars < 0 OR heard_chars > LENGTH(text))",
    ),
    (
        "no row points into another tenant",
        "SELECT r.id FROM recordings r JOIN calls c ON c.id = r.call_id WHERE r.tenant_id <> c.tenant_id UNION ALL SELECT e.id FROM events e JOIN calls c ON c.id = e.call_id WHERE e.tenant_id <> c.tenant_id",
    ),
    ("keys are hashes", "SELECT id FROM api_keys WHERE LENGTH(key_hash) <> 64"),
    (
        "a finished recording has a size and a checksum",
        "SELECT id FROM recordings WHERE state = 'ready' AND (bytes IS NULL OR bytes = 0 OR sha256 IS NULL OR duration_ms IS NULL)",
    ),
];

pub(crate) async fn hold(db: &Db) {
    for (what, sql) in INVARIANTS {
        let broken: Vec<String> =
            sqlx::query(*sql).fetch_all(&db.raw).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert!(broken.is_empty(), "{what}: {broken:?}");
    }
}
