-- Money: an append-only ledger, leases on credit, rates, usage, payments, invoices.
-- Portable text for SQLite and PostgreSQL: TEXT and BIGINT only; times in ms, money in millionths of a dollar, flags 0 or 1, JSON in TEXT.

CREATE TABLE ledger_accounts (
    id TEXT PRIMARY KEY,
    tenant_id TEXT,
    livemode BIGINT NOT NULL DEFAULT 1,
    kind TEXT NOT NULL CHECK (kind IN ('available','held','revenue','payments','promo','adjustments','bad_debt')),
    balance_micros BIGINT NOT NULL DEFAULT 0,
    floor_micros BIGINT,
    low_micros BIGINT NOT NULL DEFAULT 5000000,
    told BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX ledger_accounts_tenant ON ledger_accounts (tenant_id, livemode, kind) WHERE tenant_id IS NOT NULL;
CREATE UNIQUE INDEX ledger_accounts_house ON ledger_accounts (livemode, kind) WHERE tenant_id IS NULL;

-- The house's accounts keep no balance: theirs is summed when asked (one row for all tenants would be the hottest lock).
INSERT INTO ledger_accounts (id, livemode, kind, created_at) VALUES
    ('house:payments:live', 1, 'payments', 0), ('house:payments:test', 0, 'payments', 0),
    ('house:revenue:live', 1, 'revenue', 0), ('house:revenue:test', 0, 'revenue', 0),
    ('house:promo:live', 1, 'promo', 0), ('house:promo:test', 0, 'promo', 0),
    ('house:adjustments:live', 1, 'adjustments', 0), ('house:adjustments:test', 0, 'adjustments', 0),
    ('house:bad_debt:live', 1, 'bad_debt', 0), ('house:bad_debt:test', 0, 'bad_debt', 0);

CREATE TABLE ledger_txns (
    id TEXT PRIMARY KEY,
    tenant_id TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('top_up','promo','hold','settle','charge','refund','payout','adjust','late_charge','write_off')),
    idem_key TEXT NOT NULL UNIQUE,
    call_id TEXT,
    lease_id TEXT,
    payment_id TEXT,
    memo TEXT NOT NULL DEFAULT '{}',
    actor TEXT NOT NULL,
    balance_after_micros BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);
CREATE INDEX ledger_txns_tenant ON ledger_txns (tenant_id, created_at, id);
CREATE INDEX ledger_txns_call ON ledger_txns (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX ledger_txns_lease ON ledger_txns (lease_id) WHERE lease_id IS NOT NULL;

CREATE TABLE ledger_entries (
    txn_id TEXT NOT NULL REFERENCES ledger_txns(id),
    n BIGINT NOT NULL,
    account_id TEXT NOT NULL REFERENCES ledger_accounts(id),
    amount_micros BIGINT NOT NULL CHECK (amount_micros <> 0),
    PRIMARY KEY (txn_id, n)
);
CREATE INDEX ledger_entries_account ON ledger_entries (account_id, txn_id);

CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    call_id TEXT NOT NULL,
    livemode BIGINT NOT NULL DEFAULT 1,
    token_hash TEXT NOT NULL UNIQUE,
    node_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    rate TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open','settled','released')),
    held_micros BIGINT NOT NULL,
    covered_ms BIGINT NOT NULL,
    renewals BIGINT NOT NULL DEFAULT 0,
    final BIGINT NOT NULL DEFAULT 0,
    opened_at BIGINT NOT NULL,
    answered_at BIGINT,
    renewed_at BIGINT NOT NULL,
    evidence_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    closed_at BIGINT,
    closed_by TEXT,
    charged_micros BIGINT,
    refunded_micros BIGINT,
    late_micros BIGINT NOT NULL DEFAULT 0,
    uncollected_micros BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX leases_call ON leases (call_id);
CREATE INDEX leases_open ON leases (tenant_id) WHERE state = 'open';
CREATE INDEX leases_sweep ON leases (expires_at) WHERE state = 'open';
CREATE INDEX leases_node ON leases (node_id, boot_id) WHERE state = 'open';

CREATE TABLE spend_caps (
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    period TEXT NOT NULL CHECK (period IN ('day','month')),
    starts_at BIGINT NOT NULL,
    -- Empty for all that the tenant spends; 'country:GB', 'number:<id>'.
    scope TEXT NOT NULL DEFAULT '',
    cap_micros BIGINT NOT NULL,
    used_micros BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, period, starts_at, scope)
);

CREATE TABLE rate_plans (
    id TEXT PRIMARY KEY,
    tenant_id TEXT,
    name TEXT NOT NULL,
    is_default BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX rate_plans_default ON rate_plans (is_default) WHERE is_default = 1;

CREATE TABLE rates (
    id TEXT PRIMARY KEY,
    plan_id TEXT NOT NULL REFERENCES rate_plans(id),
    item TEXT NOT NULL CHECK (item IN ('voice_in','voice_out','web','transfer_leg','stt_s','llm_in_token','llm_out_token','tts_char','realtime_s','recording_s','analysis','number_month','hold_per_min')),
    prefix TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL DEFAULT '',
    unit_micros BIGINT NOT NULL,
    per_units BIGINT NOT NULL DEFAULT 60 CHECK (per_units > 0),
    connect_micros BIGINT NOT NULL DEFAULT 0,
    first_s BIGINT NOT NULL DEFAULT 1 CHECK (first_s >= 0),
    next_s BIGINT NOT NULL DEFAULT 1 CHECK (next_s > 0),
    free_s BIGINT NOT NULL DEFAULT 0,
    min_micros BIGINT NOT NULL DEFAULT 0,
    quantum_micros BIGINT NOT NULL DEFAULT 1 CHECK (quantum_micros > 0),
    rounding TEXT NOT NULL DEFAULT 'up' CHECK (rounding IN ('up','half_up')),
    blocked BIGINT NOT NULL DEFAULT 0,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT
);
CREATE UNIQUE INDEX rates_key ON rates (plan_id, item, prefix, starts_at);

-- The plan of a tenant without another: every call is free until the operator gives it rates.
INSERT INTO rate_plans (id, name, is_default, created_at, updated_at)
    VALUES ('00000000-0000-7000-8000-000000000001', 'Default', 1, 0, 0);
INSERT INTO rates (id, plan_id, item, name, unit_micros, starts_at) VALUES
    ('00000000-0000-7000-8000-000000000011', '00000000-0000-7000-8000-000000000001', 'voice_in', 'Inbound', 0, 0),
    ('00000000-0000-7000-8000-000000000012', '00000000-0000-7000-8000-000000000001', 'voice_out', 'Outbound', 0, 0),
    ('00000000-0000-7000-8000-000000000013', '00000000-0000-7000-8000-000000000001', 'web', 'Web', 0, 0),
    ('00000000-0000-7000-8000-000000000014', '00000000-0000-7000-8000-000000000001', 'transfer_leg', 'Transfer', 0, 0);

CREATE TABLE usage_records (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    call_id TEXT,
    livemode BIGINT NOT NULL DEFAULT 1,
    item TEXT NOT NULL,
    provider TEXT NOT NULL DEFAULT '',
    quantity BIGINT NOT NULL,
    amount_micros BIGINT NOT NULL DEFAULT 0,
    vendor_micros BIGINT NOT NULL DEFAULT 0,
    day TEXT NOT NULL,
    dedupe_key TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);
CREATE INDEX usage_tenant_day ON usage_records (tenant_id, day, item);
CREATE INDEX usage_call ON usage_records (call_id);

CREATE TABLE usage_daily (
    tenant_id TEXT NOT NULL,
    livemode BIGINT NOT NULL,
    day TEXT NOT NULL,
    item TEXT NOT NULL,
    provider TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    amount_micros BIGINT NOT NULL,
    vendor_micros BIGINT NOT NULL,
    records BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, livemode, day, item, provider)
);

CREATE TABLE payments (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    livemode BIGINT NOT NULL DEFAULT 1,
    gateway TEXT NOT NULL DEFAULT 'stripe',
    checkout_ref TEXT UNIQUE,
    payment_ref TEXT UNIQUE,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    fx_ppm BIGINT NOT NULL DEFAULT 1000000,
    credit_micros BIGINT NOT NULL,
    refunded_micros BIGINT NOT NULL DEFAULT 0,
    state TEXT NOT NULL CHECK (state IN ('open','succeeded','failed','expired','refunded','disputed')),
    auto BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    settled_at BIGINT
);
CREATE INDEX payments_tenant ON payments (tenant_id, created_at, id);

-- At most one attempt at a time: the payment it waits for.
-- Money on its way back to a card; the key is the gateway's, too.
CREATE TABLE refunds (
    key TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    payment_id TEXT NOT NULL REFERENCES payments(id),
    amount_micros BIGINT NOT NULL,
    amount_minor BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open','done','refused')),
    created_at BIGINT NOT NULL,
    settled_at BIGINT
);

CREATE TABLE auto_top_ups (
    tenant_id TEXT PRIMARY KEY REFERENCES tenants(id),
    enabled BIGINT NOT NULL DEFAULT 0,
    below_micros BIGINT NOT NULL,
    amount_minor BIGINT NOT NULL,
    monthly_max_minor BIGINT NOT NULL,
    payment_method TEXT NOT NULL,
    customer_ref TEXT,
    open_payment TEXT,
    failures BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL
);

CREATE TABLE gateway_events (
    gateway TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    outcome TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (gateway, event_id)
);

CREATE TABLE plans (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    monthly_micros BIGINT NOT NULL,
    included_micros BIGINT NOT NULL DEFAULT 0,
    rate_plan_id TEXT NOT NULL,
    limits TEXT NOT NULL DEFAULT '{}',
    stripe_price TEXT,
    active BIGINT NOT NULL DEFAULT 1
);

CREATE TABLE subscriptions (
    tenant_id TEXT PRIMARY KEY REFERENCES tenants(id),
    plan_id TEXT NOT NULL REFERENCES plans(id),
    state TEXT NOT NULL CHECK (state IN ('pending','active','past_due','canceled')),
    checkout_ref TEXT UNIQUE,
    gateway_ref TEXT UNIQUE,
    next_plan_id TEXT REFERENCES plans(id),
    period_start BIGINT NOT NULL,
    period_end BIGINT NOT NULL,
    cancel_at_end BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL
);

CREATE TABLE invoices (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    number TEXT NOT NULL UNIQUE,
    period TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft','final','paid','void')),
    total_micros BIGINT NOT NULL DEFAULT 0,
    total_cents BIGINT NOT NULL DEFAULT 0,
    currency TEXT NOT NULL DEFAULT 'USD',
    created_at BIGINT NOT NULL,
    finalized_at BIGINT,
    UNIQUE (tenant_id, period)
);

CREATE TABLE invoice_lines (
    invoice_id TEXT NOT NULL REFERENCES invoices(id),
    n BIGINT NOT NULL,
    item TEXT NOT NULL,
    label TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    amount_micros BIGINT NOT NULL,
    PRIMARY KEY (invoice_id, n)
);
