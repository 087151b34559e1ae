-- After the call: leads, mail, roll-ups, files to fetch.
-- Portable text for SQLite and PostgreSQL: TEXT and BIGINT only; times in ms, money in millionths of a dollar, flags 0 or 1, JSON in TEXT.

CREATE TABLE leads (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    call_id TEXT,
    agent_id TEXT,
    name TEXT,
    email TEXT,
    phone TEXT,
    business_type TEXT,
    fields TEXT NOT NULL DEFAULT '{}',
    stage TEXT NOT NULL DEFAULT 'new' CHECK (stage IN ('new','contacted','qualified','won','lost','spam')),
    score BIGINT,
    owner_id TEXT,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX leads_tenant ON leads (tenant_id, created_at, id);
CREATE INDEX leads_phone ON leads (tenant_id, phone);
CREATE INDEX leads_email ON leads (tenant_id, email);
CREATE UNIQUE INDEX leads_call ON leads (call_id) WHERE call_id IS NOT NULL;

CREATE TABLE lead_notes (
    id TEXT PRIMARY KEY,
    lead_id TEXT NOT NULL REFERENCES leads(id),
    tenant_id TEXT NOT NULL,
    author TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX lead_notes_lead ON lead_notes (lead_id, created_at);

CREATE TABLE email_templates (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    body_text TEXT NOT NULL,
    body_html TEXT,
    version BIGINT NOT NULL DEFAULT 1,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE emails (
    id TEXT PRIMARY KEY,
    tenant_id TEXT,
    lead_id TEXT,
    template TEXT NOT NULL,
    to_addr TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued','sent','failed','suppressed')),
    dedupe_key TEXT NOT NULL UNIQUE,
    subject TEXT,
    body_text TEXT,
    body_html TEXT,
    gateway_ref TEXT,
    error TEXT,
    created_at BIGINT NOT NULL,
    sent_at BIGINT
);
CREATE INDEX emails_lead ON emails (lead_id, created_at);

CREATE TABLE email_suppressions (
    tenant_id TEXT NOT NULL,
    address TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, address)
);

CREATE TABLE call_rollup (
    tenant_id TEXT NOT NULL,
    livemode BIGINT NOT NULL,
    hour_at BIGINT NOT NULL,
    agent_id TEXT NOT NULL DEFAULT '',
    agent_version BIGINT NOT NULL DEFAULT 0,
    direction TEXT NOT NULL,
    outcome TEXT NOT NULL,
    calls BIGINT NOT NULL,
    answered BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    charged_micros BIGINT NOT NULL,
    vendor_micros BIGINT NOT NULL,
    positive BIGINT NOT NULL,
    neutral BIGINT NOT NULL,
    negative BIGINT NOT NULL,
    success BIGINT NOT NULL,
    transferred BIGINT NOT NULL DEFAULT 0,
    interruptions BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, livemode, hour_at, agent_id, agent_version, direction, outcome)
);

CREATE TABLE latency_rollup (
    tenant_id TEXT NOT NULL,
    day TEXT NOT NULL,
    agent_id TEXT NOT NULL DEFAULT '',
    agent_version BIGINT NOT NULL DEFAULT 0,
    stage TEXT NOT NULL,
    provider TEXT NOT NULL DEFAULT '',
    bucket BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, day, agent_id, agent_version, stage, provider, bucket)
);

CREATE TABLE topic_rollup (
    tenant_id TEXT NOT NULL,
    livemode BIGINT NOT NULL,
    day_at BIGINT NOT NULL,
    agent_id TEXT NOT NULL DEFAULT '',
    topic TEXT NOT NULL,
    positive BIGINT NOT NULL,
    neutral BIGINT NOT NULL,
    negative BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, livemode, day_at, agent_id, topic)
);

CREATE TABLE files (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('export','report','invoice','pcap','preview','bill')),
    state TEXT NOT NULL CHECK (state IN ('queued','ready','failed','expired')),
    locator TEXT,
    content_type TEXT NOT NULL,
    bytes BIGINT,
    request TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
