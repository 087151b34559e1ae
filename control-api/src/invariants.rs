//! What must always hold: statements that return no row. `sidetone check --ledger` runs them, and every test that writes.
//!
//! `{now}` stands for the clock in ms. Tables of campaigns and referrals, which do not exist yet, have theirs when they come.

use sqlx::{AssertSqlSafe, Row as _};

use crate::store::Store;

/// One statement.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// `M1` … `W4`.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    sql: &'static str,
}

/// A statement that returned rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `M1` … `W4`.
    pub name: &'static str,
    /// What should hold.
    pub says: &'static str,
    /// The first column of the first rows.
    pub rows: Vec<String>,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        name: "M1",
        says: "every ledger transaction sums to zero and has at least two entries",
        sql: "SELECT t.id FROM ledger_txns t LEFT JOIN ledger_entries e ON e.txn_id = t.id GROUP BY t.id HAVING \
              CAST(COALESCE(SUM(e.amount_micros),0) AS BIGINT) <> 0 OR COUNT(e.n) < 2",
    },
    Invariant {
        name: "M2",
        says: "a tenant's balance is the sum of its entries; house accounts keep none (0)",
        sql: "SELECT a.id FROM ledger_accounts a LEFT JOIN ledger_entries e ON e.account_id = a.id AND a.tenant_id IS NOT \
              NULL GROUP BY a.id, a.balance_micros HAVING a.balance_micros <> CAST(COALESCE(SUM(e.amount_micros),0) AS \
              BIGINT)",
    },
    Invariant {
        name: "M3",
        says: "nobody is below the floor; money held is never negative",
        sql: "SELECT id FROM ledger_accounts WHERE (floor_micros IS NOT NULL AND balance_micros < floor_micros) OR (kind = \
              'held' AND balance_micros < 0)",
    },
    Invariant {
        name: "M4",
        says: "a transaction stays inside one tenant (house accounts aside) and inside one mode",
        sql: "SELECT e.txn_id FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id JOIN ledger_txns t ON t.id \
              = e.txn_id GROUP BY e.txn_id, t.tenant_id HAVING COUNT(DISTINCT a.livemode) > 1 OR SUM(CASE WHEN a.tenant_id \
              IS NOT NULL AND a.tenant_id <> COALESCE(t.tenant_id,'') THEN 1 ELSE 0 END) > 0",
    },
    Invariant {
        name: "M5",
        says: "what is held equals what open leases hold",
        sql: "SELECT a.id FROM ledger_accounts a LEFT JOIN leases l ON l.tenant_id = a.tenant_id AND l.livemode = a.livemode \
              AND l.state = 'open' WHERE a.kind = 'held' GROUP BY a.id, a.balance_micros HAVING a.balance_micros <> \
              CAST(COALESCE(SUM(l.held_micros),0) AS BIGINT)",
    },
    Invariant {
        name: "M6",
        says: "a closed lease has exactly one settle transaction, an open one none",
        sql: "SELECT l.id FROM leases l LEFT JOIN ledger_txns t ON t.lease_id = l.id AND t.kind = 'settle' GROUP BY l.id, \
              l.state, l.held_micros HAVING (l.state = 'open' AND COUNT(t.id) > 0) OR (l.state <> 'open' AND l.held_micros > \
              0 AND COUNT(t.id) <> 1)",
    },
    Invariant {
        name: "M7",
        says: "charged + refunded = held, none negative, and a released lease charged nothing",
        sql: "SELECT id FROM leases WHERE state <> 'open' AND (charged_micros IS NULL OR refunded_micros IS NULL OR \
              charged_micros < 0 OR refunded_micros < 0 OR charged_micros + refunded_micros <> held_micros OR closed_at IS \
              NULL OR (state = 'released' AND charged_micros <> 0))",
    },
    Invariant {
        name: "M8",
        says: "what a call says it was charged is what the ledger took for it",
        sql: "SELECT c.id FROM calls c LEFT JOIN ledger_txns t ON t.call_id = c.id LEFT JOIN ledger_entries e ON e.txn_id = \
              t.id AND e.account_id IN (SELECT id FROM ledger_accounts WHERE kind = 'revenue') WHERE c.ended_at IS NOT NULL \
              GROUP BY c.id, c.charged_micros HAVING c.charged_micros <> CAST(COALESCE(SUM(e.amount_micros),0) AS BIGINT)",
    },
    Invariant {
        name: "M9",
        says: "a paid payment has exactly one credit of its amount, an unpaid one none",
        sql: "SELECT p.id FROM payments p LEFT JOIN ledger_txns t ON t.payment_id = p.id AND t.kind = 'top_up' LEFT JOIN \
              ledger_entries e ON e.txn_id = t.id AND e.amount_micros > 0 GROUP BY p.id, p.state, p.credit_micros HAVING \
              (p.state IN ('succeeded','refunded','disputed') AND (COUNT(e.n) <> 1 OR CAST(COALESCE(SUM(e.amount_micros),0) \
              AS BIGINT) <> p.credit_micros)) OR (p.state IN ('open','failed','expired') AND COUNT(e.n) <> 0)",
    },
    Invariant {
        name: "M10",
        says: "a call that ended longer than 120 s ago holds nothing",
        sql: "SELECT l.id FROM leases l JOIN calls c ON c.id = l.call_id WHERE l.state = 'open' AND c.ended_at IS NOT NULL \
              AND c.ended_at < {now} - 120000",
    },
    Invariant {
        name: "M11",
        says: "no lease outlives its expiry by more than the sweeper's 60 s",
        sql: "SELECT id FROM leases WHERE state = 'open' AND expires_at < {now} - 60000",
    },
    Invariant {
        name: "M12",
        says: "every call in progress has an open lease (of 0 where the rate is 0)",
        sql: "SELECT c.id FROM calls c LEFT JOIN leases l ON l.call_id = c.id AND l.state = 'open' WHERE c.status = \
              'in_progress' AND l.id IS NULL",
    },
    Invariant {
        name: "M13",
        says: "daily usage equals its records",
        sql: "SELECT d.tenant_id, d.day, d.item FROM usage_daily d LEFT JOIN usage_records r ON r.tenant_id = d.tenant_id \
              AND r.livemode = d.livemode AND r.day = d.day AND r.item = d.item AND r.provider = d.provider GROUP BY \
              d.tenant_id, d.livemode, d.day, d.item, d.provider, d.quantity, d.amount_micros, d.records HAVING d.quantity \
              <> CAST(COALESCE(SUM(r.quantity),0) AS BIGINT) OR d.amount_micros <> CAST(COALESCE(SUM(r.amount_micros),0) AS \
              BIGINT) OR d.records <> COUNT(r.id)",
    },
    Invariant {
        name: "M14",
        says: "an invoice is the sum of its lines, rounded once",
        sql: "SELECT i.id FROM invoices i LEFT JOIN invoice_lines l ON l.invoice_id = i.id WHERE i.state <> 'draft' GROUP BY \
              i.id, i.total_micros, i.total_cents HAVING i.total_micros <> CAST(COALESCE(SUM(l.amount_micros),0) AS BIGINT) \
              OR i.total_cents <> (i.total_micros + 5000) / 10000",
    },
    Invariant {
        name: "M15",
        says: "no spend cap is overrun",
        sql: "SELECT tenant_id, period FROM spend_caps WHERE used_micros > cap_micros OR used_micros < 0",
    },
    Invariant {
        name: "C1",
        says: "ended means ended: time, reason and a final status, all or none",
        sql: "SELECT id FROM calls WHERE (ended_at IS NULL) <> (status NOT IN \
              ('completed','failed','no_answer','busy','canceled')) OR (ended_at IS NOT NULL AND ended_reason IS NULL)",
    },
    Invariant {
        name: "C2",
        says: "times go forward; answered if and only if it was in progress",
        sql: "SELECT id FROM calls WHERE (status IN ('in_progress','completed') AND answered_at IS NULL) OR (status IN \
              ('no_answer','busy','canceled') AND answered_at IS NOT NULL) OR answered_at < created_at OR ended_at < \
              COALESCE(answered_at, created_at) OR (ended_at IS NOT NULL AND answered_at IS NOT NULL AND duration_ms <> \
              ended_at - answered_at) OR (answered_at IS NULL AND (duration_ms <> 0 OR billed_s <> 0))",
    },
    Invariant {
        name: "C3",
        says: "a call's events are numbered 1..n without a hole",
        sql: "SELECT c.id FROM calls c LEFT JOIN events e ON e.call_id = c.id GROUP BY c.id, c.event_seq HAVING COUNT(e.id) \
              > 0 AND (COUNT(e.id) <> MAX(e.call_seq) OR MIN(e.call_seq) <> 1 OR MAX(e.call_seq) <> c.event_seq)",
    },
    Invariant {
        name: "C4",
        says: "every ended call whose events are kept has exactly one call.ended event, no other call has one",
        sql: "SELECT c.id FROM calls c LEFT JOIN events e ON e.call_id = c.id AND e.type = 'call.ended' WHERE c.ended_at IS \
              NULL OR EXISTS (SELECT 1 FROM events k WHERE k.call_id = c.id) GROUP BY c.id, \
              c.ended_at HAVING (c.ended_at IS NOT NULL AND COUNT(e.id) <> 1) OR (c.ended_at IS NULL AND COUNT(e.id) <> 0)",
    },
    Invariant {
        name: "C5",
        says: "turns are numbered 1..n and inside the call",
        sql: "SELECT t.call_id FROM turns t JOIN calls c ON c.id = t.call_id GROUP BY t.call_id, c.duration_ms, c.ended_at \
              HAVING COUNT(*) <> MAX(t.n) OR (c.ended_at IS NOT NULL AND MAX(t.start_ms) > c.duration_ms)",
    },
    Invariant {
        name: "C6",
        says: "the agent never says more than was heard, nor heard more than was said",
        sql: "SELECT call_id, n FROM turns WHERE heard_chars IS NOT NULL AND (heard_chars < 0 OR heard_chars > LENGTH(text))",
    },
    Invariant {
        name: "C8",
        says: "nothing on the do-not-call list was dialled after it was listed",
        sql: "SELECT c.id FROM calls c JOIN do_not_call d ON d.tenant_id = c.tenant_id AND d.e164 = c.to_addr WHERE \
              c.direction = 'outbound' AND c.initiated_at > d.created_at",
    },
    Invariant {
        name: "T1",
        says: "no row points into another tenant",
        sql: "SELECT n.id FROM numbers n JOIN agents a ON a.id = n.agent_id WHERE a.tenant_id <> n.tenant_id UNION ALL \
              SELECT n.id FROM numbers n JOIN trunks t ON t.id = n.trunk_id WHERE t.tenant_id IS NOT NULL AND t.tenant_id <> \
              n.tenant_id UNION ALL SELECT c.id FROM calls c JOIN agents a ON a.id = c.agent_id WHERE a.tenant_id <> \
              c.tenant_id UNION ALL SELECT r.id FROM recordings r JOIN calls c ON c.id = r.call_id WHERE r.tenant_id <> \
              c.tenant_id UNION ALL SELECT l.id FROM leads l JOIN calls c ON c.id = l.call_id WHERE l.tenant_id <> \
              c.tenant_id UNION ALL SELECT e.id FROM events e JOIN calls c ON c.id = e.call_id WHERE e.tenant_id <> \
              c.tenant_id UNION ALL SELECT d.id FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE \
              w.tenant_id <> d.tenant_id UNION ALL SELECT l.id FROM leases l JOIN calls c ON c.id = l.call_id WHERE \
              l.tenant_id <> c.tenant_id",
    },
    Invariant {
        name: "T2",
        says: "every live tenant has an owner who is not blocked",
        sql: "SELECT t.id FROM tenants t LEFT JOIN memberships m ON m.tenant_id = t.id AND m.role = 'owner' AND m.blocked_at \
              IS NULL LEFT JOIN users u ON u.id = m.user_id AND u.deleted_at IS NULL WHERE t.status = 'active' GROUP BY t.id \
              HAVING COUNT(u.id) = 0",
    },
    Invariant {
        name: "T3",
        says: "an agent's version is its newest stored version",
        sql: "SELECT a.id FROM agents a LEFT JOIN agent_versions v ON v.agent_id = a.id GROUP BY a.id, a.version HAVING \
              a.version <> COALESCE(MAX(v.version), 0)",
    },
    Invariant {
        name: "T4",
        says: "secrets are hashes: 64 hex digits",
        sql: "SELECT id FROM api_keys WHERE LENGTH(key_hash) <> 64 UNION ALL SELECT id FROM sessions WHERE \
              LENGTH(refresh_hash) <> 64",
    },
    Invariant {
        name: "W1",
        says: "a delivery's state and its dates agree",
        sql: "SELECT id FROM webhook_deliveries WHERE (state = 'delivered') <> (delivered_at IS NOT NULL) OR (state = \
              'pending' AND next_at IS NULL) OR (state = 'dead' AND attempts = 0)",
    },
    Invariant {
        name: "W2",
        says: "published numbers of the last day have no hole",
        sql: "SELECT MAX(pub_seq) FROM events WHERE created_at > {now} - 86400000 HAVING COUNT(pub_seq) > 0 AND MAX(pub_seq) \
              - MIN(pub_seq) + 1 <> COUNT(pub_seq)",
    },
    Invariant {
        name: "W3",
        says: "no job is running past its lock by an hour",
        sql: "SELECT id FROM jobs WHERE state = 'running' AND locked_until < {now} - 3600000",
    },
    Invariant {
        name: "W4",
        says: "a finished recording has a size and a checksum",
        sql: "SELECT id FROM recordings WHERE state = 'ready' AND (bytes IS NULL OR bytes = 0 OR sha256 IS NULL OR \
              duration_ms IS NULL)",
    },
    Invariant {
        name: "N1",
        says: "a number that is porting has a request that is open, and is in one only",
        sql: "SELECT n.id FROM numbers n LEFT JOIN number_ports p ON p.number_id = n.id AND p.state IN \
              ('submitted','pending','foc_confirmed','exception') WHERE n.status = 'porting' GROUP BY n.id HAVING \
              COUNT(p.order_id) <> 1",
    },
    Invariant {
        name: "N2",
        says: "a port request is open, and keeps its form, as long as one of its numbers is open",
        sql: "SELECT o.id FROM number_orders o LEFT JOIN number_ports p ON p.order_id = o.id AND p.state IN \
              ('submitted','pending','foc_confirmed','exception') WHERE o.kind = 'port' GROUP BY o.id, o.state, o.sealed HAVING \
              (COUNT(p.order_id) > 0) <> (o.state IN ('submitted','pending','foc_confirmed','exception')) OR (COUNT(p.order_id) \
              > 0) <> (o.sealed IS NOT NULL)",
    },
    Invariant {
        name: "R1",
        says: "no two rates of one plan and prefix overlap in time",
        sql: "SELECT a.id FROM rates a JOIN rates b ON a.plan_id = b.plan_id AND a.item = b.item AND a.prefix = b.prefix AND \
              a.id <> b.id AND a.starts_at <= b.starts_at AND (a.ends_at IS NULL OR a.ends_at > b.starts_at)",
    },
];

impl Store {
    /// Runs them all; what is broken, if anything is.
    pub async fn check_invariants(&self, now_ms: i64) -> Result<Vec<Broken>, sqlx::Error> {
        let mut broken = Vec::new();
        for Invariant { name, says, sql } in INVARIANTS {
            let sql = format!("SELECT * FROM ({}) AS x LIMIT 20", sql.replace("{now}", &now_ms.to_string()));
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(self.pool()).await?;
            if rows.is_empty() {
                continue;
            }
            let first = |row: &sqlx::any::AnyRow| {
                row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string()))
            };
            broken.push(Broken { name, says, rows: rows.iter().filter_map(|row| first(row).ok()).collect() });
        }
        Ok(broken)
    }
}
