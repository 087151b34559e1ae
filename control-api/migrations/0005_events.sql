-- The outbox, its readers, and the work that waits.
-- Portable text for SQLite and PostgreSQL: TEXT and BIGINT only; times in ms, money in millionths of a dollar, flags 0 or 1, JSON in TEXT.

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    pub_seq BIGINT UNIQUE,
    tenant_id TEXT NOT NULL,
    call_id TEXT,
    call_seq BIGINT,
    type TEXT NOT NULL,
    livemode BIGINT NOT NULL DEFAULT 1,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX events_call ON events (call_id, call_seq) WHERE call_id IS NOT NULL;
CREATE INDEX events_tenant ON events (tenant_id, pub_seq);
CREATE INDEX events_unpublished ON events (id) WHERE pub_seq IS NULL;

-- The last batch that each run of a journal has stored: whether a commit whose answer was lost has happened.
CREATE TABLE journal_marks (
    journal TEXT PRIMARY KEY,
    batch TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE consumers (
    name TEXT PRIMARY KEY,
    pub_seq BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL
);

-- fence: how often the lock was taken; for 'publisher' the last pub_seq that was given.
CREATE TABLE locks (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until_ms BIGINT NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    boot_id TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('up','draining','gone')),
    calls BIGINT NOT NULL DEFAULT 0,
    max_calls BIGINT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    url TEXT NOT NULL,
    description TEXT,
    types TEXT NOT NULL DEFAULT '["*"]',
    agent_ids TEXT,
    sealed_secret TEXT NOT NULL,
    sealed_old_secret TEXT,
    old_secret_until BIGINT,
    headers TEXT NOT NULL DEFAULT '{}',
    ordering TEXT NOT NULL DEFAULT 'per_call' CHECK (ordering IN ('per_call','none')),
    enabled BIGINT NOT NULL DEFAULT 1,
    disabled_reason TEXT,
    failing_since BIGINT,
    dead_in_row BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, enabled);

CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    webhook_id TEXT NOT NULL REFERENCES webhooks(id),
    tenant_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    call_id TEXT,
    call_seq BIGINT,
    state TEXT NOT NULL CHECK (state IN ('pending','sending','delivered','dead')),
    attempts BIGINT NOT NULL DEFAULT 0,
    next_at BIGINT,
    locked_by TEXT,
    locked_until BIGINT NOT NULL DEFAULT 0,
    delivered_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (webhook_id, event_id)
);
CREATE INDEX deliveries_due ON webhook_deliveries (webhook_id, next_at) WHERE state IN ('pending','sending');
CREATE INDEX deliveries_sending ON webhook_deliveries (tenant_id, webhook_id) WHERE state = 'sending';
CREATE INDEX deliveries_age ON webhook_deliveries (created_at);
CREATE INDEX deliveries_hook ON webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX deliveries_head ON webhook_deliveries (webhook_id, call_id, call_seq) WHERE state IN ('pending','sending');

CREATE TABLE webhook_attempts (
    delivery_id TEXT NOT NULL REFERENCES webhook_deliveries(id),
    n BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    http_status BIGINT,
    error TEXT,
    response_head TEXT,
    PRIMARY KEY (delivery_id, n)
);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    tenant_id TEXT,
    kind TEXT NOT NULL,
    dedupe_key TEXT NOT NULL UNIQUE,
    payload TEXT NOT NULL DEFAULT '{}',
    state TEXT NOT NULL CHECK (state IN ('queued','running','done','dead')),
    attempts BIGINT NOT NULL DEFAULT 0,
    max_attempts BIGINT NOT NULL DEFAULT 8,
    node TEXT,
    run_at BIGINT NOT NULL,
    locked_by TEXT,
    locked_until BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX jobs_due ON jobs (run_at) WHERE state IN ('queued','running');

CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running','done')),
    http_status BIGINT,
    response TEXT,
    locked_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_expiry ON idempotency_keys (expires_at);
