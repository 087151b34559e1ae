//! Calls of ninety days, as the product would have left them: rows by set-based statements, roll-ups by counting those rows.

use std::time::Instant;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, AssertSqlSafe};

use super::Failure;

/// Rows in one statement.
const STEP: i64 = 50_000;
/// Over what time calls are spread, ms.
const SPAN_MS: i64 = 90 * 86_400_000;
/// When the last of them began: long enough ago that nothing is due for them now.
const AGO_MS: i64 = 3_600_000;

/// What differs between the two databases.
struct Dialect {
    /// A table of that name with a column `n`, from the first to the last.
    series: fn(&str, i64, i64) -> String,
    /// Eight hexadecimal digits of an expression, etc.
    hex: fn(&str, usize) -> String,
    /// The text of an expression.
    text: fn(&str) -> String,
    /// The day so many days ago, `YYYY-MM-DD`.
    day: &'static str,
}

const SQLITE: Dialect = Dialect {
    series: |name, from, to| {
        format!(
            "(WITH RECURSIVE r(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM r WHERE n < {to}) SELECT n FROM r) AS {name}"
        )
    },
    hex: |value, digits| format!("printf('%0{digits}x', {value})"),
    text: |value| format!("CAST({value} AS TEXT)"),
    day: "strftime('%Y-%m-%d', 'now', '-' || d.n || ' days')",
};

const POSTGRES: Dialect = Dialect {
    series: |name, from, to| format!("generate_series({from}::bigint, {to}::bigint) AS {name}(n)"),
    hex: |value, digits| format!("lpad(to_hex(({value})::bigint), {digits}, '0')"),
    text: |value| format!("({value})::text"),
    day: "to_char(now() - make_interval(days => d.n::int), 'YYYY-MM-DD')",
};

/// An id of version 7 whose order is that of `n`; `kind` keeps the tables apart.
fn id(dialect: &Dialect, at: &str, kind: u8) -> String {
    let (high, low) = ((dialect.hex)(&format!("({at}) / 65536"), 8), (dialect.hex)(&format!("({at}) % 65536"), 4));
    let rest = (dialect.hex)("s.n", 12);
    format!("{high} || '-' || {low} || '-70{kind:02x}-8000-' || {rest}")
}

pub(super) async fn fill(database: &str, calls: i64) -> Result<(), Failure> {
    sqlx::any::install_default_drivers();
    let pool = AnyPoolOptions::new().max_connections(1).connect(database).await?;
    let dialect = if database.starts_with("sqlite") { &SQLITE } else { &POSTGRES };
    let tenant: String = one(&pool, "SELECT id FROM tenants WHERE slug = 'default'").await?;
    let done: i64 = one(&pool, "SELECT COUNT(*) FROM calls").await?;
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?;
    let began = Instant::now();
    let mut from = done + 1;
    while from <= calls {
        let to = (from + STEP - 1).min(calls);
        let mut tx = pool.begin().await?;
        for statement in statements(dialect, &tenant, from, to, calls, now - AGO_MS) {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        from = to + 1;
    }
    for statement in sums(dialect) {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await?;
    }
    // As autovacuum or `PRAGMA optimize` would have by then.
    sqlx::query("ANALYZE").execute(&pool).await?;
    eprintln!("{calls} calls in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

async fn one<T>(pool: &AnyPool, query: &'static str) -> Result<T, sqlx::Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any> + Send + Unpin,
{
    sqlx::query_scalar(query).fetch_one(pool).await
}

fn statements(dialect: &Dialect, tenant: &str, from: i64, to: i64, calls: i64, last: i64) -> Vec<String> {
    let series = (dialect.series)("s", from, to);
    let text = dialect.text;
    // Newer calls have greater numbers, whenever they are added.
    let at = format!("({last} - ({calls} - s.n) * {})", SPAN_MS / calls.max(1));
    let call = id(dialect, &at, 0);
    let caller = format!("'+1212' || {}", (dialect.text)("5550000 + s.n * 7919 % 9999"));
    let agent = format!("'0193481e-7a10-7000-8000-00000000000' || {}", text("s.n % 5"));
    vec![
        format!(
            "INSERT INTO calls (id, tenant_id, channel, direction, status, ended_reason, from_addr, to_addr, agent_id, agent_version,
               created_at, initiated_at, ringing_at, answered_at, ended_at, duration_ms, billed_s, charged_micros, turns, event_seq,
               v2v_p50_ms, sentiment, success)
             SELECT {call}, '{tenant}', 'sip', CASE WHEN s.n % 3 = 0 THEN 'outbound' ELSE 'inbound' END,
               CASE s.n % 20 WHEN 0 THEN 'failed' WHEN 1 THEN 'busy' WHEN 2 THEN 'no_answer' ELSE 'completed' END,
               CASE s.n % 20 WHEN 0 THEN 'unreachable' WHEN 1 THEN 'busy' WHEN 2 THEN 'no_answer' ELSE 'caller_hung_up' END,
               {caller}, '+12125550100', {agent}, 1, {at}, {at} + 10, {at} + 40,
               CASE WHEN s.n % 20 > 2 THEN {at} + 1500 END, {at} + 61500, CASE WHEN s.n % 20 > 2 THEN 60000 ELSE 0 END,
               CASE WHEN s.n % 20 > 2 THEN 60 ELSE 0 END, 0, 4, 9, 400 + s.n % 900,
               CASE s.n % 4 WHEN 0 THEN 'positive' WHEN 1 THEN 'negative' ELSE 'neutral' END, s.n % 2
             FROM {series}"
        ),
        format!(
            "INSERT INTO call_legs (id, call_id, tenant_id, role, address, codec, started_at, answered_at, ended_at, media)
             SELECT {}, {call}, '{tenant}', 'caller', {caller}, 'PCMU', {at}, {at} + 1500, {at} + 61500, '{{\"codec\":\"PCMU\",\"mos\":4.3}}'
             FROM {series}",
            id(dialect, &at, 1)
        ),
        format!(
            "INSERT INTO recordings (id, call_id, tenant_id, state, format, channels, duration_ms, bytes, locator, created_at)
             SELECT {}, {call}, '{tenant}', 'ready', 'wav', 2, 60000, 1920044, 'x', {at} + 1500 FROM {series} WHERE s.n % 20 > 2",
            id(dialect, &at, 2)
        ),
        format!(
            "INSERT INTO turns (call_id, n, tenant_id, speaker, text, start_ms, end_ms)
             SELECT {call}, 1, '{tenant}', 'agent', 'Hillside clinic, how can I help?', 100, 2100 FROM {series} WHERE s.n % 20 > 2"
        ),
        format!(
            "INSERT INTO leads (id, tenant_id, name, email, phone, stage, call_id, agent_id, created_at, updated_at)
             SELECT {}, '{tenant}', 'Caller ' || {}, 'caller' || {} || '@example.com', {caller}, 'new', {call}, {agent}, {at}, {at}
             FROM {series} WHERE s.n % 10 = 3",
            id(dialect, &at, 3),
            text("s.n"),
            text("s.n")
        ),
    ]
}

/// The roll-ups anew, from the rows; latencies spread over their buckets.
fn sums(dialect: &Dialect) -> Vec<String> {
    let (days, buckets, day) = ((dialect.series)("d", 0, 89), (dialect.series)("b", 180, 240), dialect.day);
    let stages =
        ["end_of_turn", "stt", "llm_first_token", "first_sentence", "tts_first_byte", "first_rtp", "voice_to_voice"];
    let mut all = vec![
        "DELETE FROM call_rollup".to_owned(),
        "DELETE FROM latency_rollup".to_owned(),
        "INSERT INTO call_rollup (tenant_id, livemode, hour_at, agent_id, agent_version, direction, outcome, calls, answered,
           duration_ms, charged_micros, vendor_micros, positive, neutral, negative, success)
         SELECT tenant_id, livemode, created_at - created_at % 3600000, COALESCE(agent_id, ''), COALESCE(agent_version, 0), direction,
           status, COUNT(*),
           SUM(CASE WHEN answered_at IS NULL THEN 0 ELSE 1 END), CAST(SUM(duration_ms) AS BIGINT), 0, 0,
           SUM(CASE sentiment WHEN 'positive' THEN 1 ELSE 0 END), SUM(CASE sentiment WHEN 'neutral' THEN 1 ELSE 0 END),
           SUM(CASE sentiment WHEN 'negative' THEN 1 ELSE 0 END), CAST(SUM(success) AS BIGINT)
         FROM calls GROUP BY 1, 2, 3, 4, 5, 6, 7"
            .to_owned(),
        "DELETE FROM topic_rollup".to_owned(),
        format!(
            "INSERT INTO topic_rollup (tenant_id, livemode, day_at, agent_id, topic, positive, neutral, negative)
             SELECT c.tenant_id, 1, c.day_at, c.agent, 'topic ' || {}, 1, 1, 1 FROM
               (SELECT DISTINCT tenant_id, created_at - created_at % 86400000 AS day_at, COALESCE(agent_id, '') AS agent FROM calls) c,
               {}",
            (dialect.text)("d.n"),
            (dialect.series)("d", 1, 30),
        ),
    ];
    for stage in stages {
        all.push(format!(
            "INSERT INTO latency_rollup (tenant_id, day, agent_id, stage, provider, bucket, count)
             SELECT t.id, {day}, '0193481e-7a10-7000-8000-000000000001', '{stage}', '', b.n, 3
             FROM tenants t, {days}, {buckets} WHERE t.slug = 'default'"
        ));
    }
    all
}
