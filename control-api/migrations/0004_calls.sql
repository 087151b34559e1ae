-- What happened on a call: whose it is, what was said, recorded, analysed and taken.
-- Portable text for SQLite and PostgreSQL: TEXT and BIGINT only; times in ms, money in millionths of a dollar, flags 0 or 1, JSON in TEXT.

CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    livemode BIGINT NOT NULL DEFAULT 1,
    channel TEXT NOT NULL CHECK (channel IN ('sip','web','media_stream')),
    direction TEXT NOT NULL CHECK (direction IN ('inbound','outbound')),
    status TEXT NOT NULL CHECK (status IN ('pending','initiating','ringing','in_progress','completed','failed','no_answer','busy','canceled')),
    ended_reason TEXT,
    sip_status BIGINT,
    from_addr TEXT NOT NULL,
    to_addr TEXT NOT NULL,
    verified TEXT CHECK (verified IN ('A','B','C','failed','none')),
    number_id TEXT,
    trunk_id TEXT,
    agent_id TEXT,
    agent_version BIGINT,
    config TEXT,
    variables TEXT NOT NULL DEFAULT '{}',
    metadata TEXT NOT NULL DEFAULT '{}',
    campaign_id TEXT,
    contact_id TEXT,
    parent_call_id TEXT,
    sip_call_id TEXT,
    node_id TEXT,
    boot_id TEXT,
    scheduled_at BIGINT,
    created_at BIGINT NOT NULL,
    initiated_at BIGINT,
    ringing_at BIGINT,
    answered_at BIGINT,
    ended_at BIGINT,
    duration_ms BIGINT NOT NULL DEFAULT 0,
    billed_s BIGINT NOT NULL DEFAULT 0,
    charged_micros BIGINT NOT NULL DEFAULT 0,
    uncollected_micros BIGINT NOT NULL DEFAULT 0,
    vendor_micros BIGINT NOT NULL DEFAULT 0,
    turns BIGINT NOT NULL DEFAULT 0,
    event_seq BIGINT NOT NULL DEFAULT 0,
    mos_milli BIGINT,
    v2v_p50_ms BIGINT,
    answered_by TEXT,
    sentiment TEXT,
    success BIGINT,
    summary_line TEXT,
    transfer TEXT,
    degraded BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 1,
    blanked_at BIGINT,
    deleted_at BIGINT
);
CREATE INDEX calls_list ON calls (tenant_id, created_at, id);
-- What few calls have is found without reading the many that have it not.
CREATE INDEX calls_status ON calls (tenant_id, status, created_at, id);
CREATE INDEX calls_reason ON calls (tenant_id, ended_reason, created_at, id);
CREATE INDEX calls_live ON calls (tenant_id, status) WHERE ended_at IS NULL;
CREATE INDEX calls_unblanked ON calls (tenant_id, ended_at) WHERE blanked_at IS NULL;
CREATE INDEX calls_node ON calls (node_id, boot_id) WHERE ended_at IS NULL;
CREATE INDEX calls_due ON calls (scheduled_at) WHERE status = 'pending' AND scheduled_at IS NOT NULL;
CREATE INDEX calls_agent ON calls (agent_id, created_at);
CREATE INDEX calls_from ON calls (tenant_id, from_addr, created_at);
CREATE INDEX calls_to ON calls (tenant_id, to_addr, created_at);
CREATE INDEX calls_campaign ON calls (campaign_id, created_at) WHERE campaign_id IS NOT NULL;

CREATE TABLE call_legs (
    id TEXT PRIMARY KEY,
    call_id TEXT NOT NULL REFERENCES calls(id),
    tenant_id TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('caller','callee','transfer','consult','listener')),
    trunk_id TEXT,
    address TEXT NOT NULL,
    sip_call_id TEXT,
    codec TEXT,
    srtp TEXT,
    started_at BIGINT NOT NULL,
    answered_at BIGINT,
    ended_at BIGINT,
    sip_status BIGINT,
    media TEXT
);
CREATE INDEX call_legs_call ON call_legs (call_id);
CREATE INDEX call_legs_sip ON call_legs (sip_call_id);

CREATE TABLE turns (
    call_id TEXT NOT NULL REFERENCES calls(id),
    n BIGINT NOT NULL,
    tenant_id TEXT NOT NULL,
    speaker TEXT NOT NULL CHECK (speaker IN ('caller','agent','tool','system')),
    text TEXT NOT NULL,
    heard_chars BIGINT,
    lang TEXT,
    confidence_milli BIGINT,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    interrupted BIGINT NOT NULL DEFAULT 0,
    words TEXT,
    latency TEXT,
    PRIMARY KEY (call_id, n)
);

CREATE TABLE recordings (
    id TEXT PRIMARY KEY,
    call_id TEXT NOT NULL REFERENCES calls(id),
    tenant_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('writing','stored','ready','failed','deleted')),
    format TEXT NOT NULL,
    channels BIGINT NOT NULL,
    duration_ms BIGINT,
    bytes BIGINT,
    sha256 TEXT,
    locator TEXT NOT NULL,
    key_id TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    deleted_at BIGINT
);
CREATE INDEX recordings_call ON recordings (call_id);
CREATE INDEX recordings_expiry ON recordings (expires_at) WHERE deleted_at IS NULL;

CREATE TABLE call_analyses (
    id TEXT PRIMARY KEY,
    call_id TEXT NOT NULL REFERENCES calls(id),
    tenant_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued','running','done','failed','skipped')),
    engine TEXT,
    result TEXT,
    error TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (call_id, revision)
);

CREATE TABLE sip_messages (
    call_id TEXT NOT NULL,
    n BIGINT NOT NULL,
    sip_call_id TEXT NOT NULL,
    at_us BIGINT NOT NULL,
    outgoing BIGINT NOT NULL,
    transport TEXT NOT NULL,
    local TEXT NOT NULL,
    peer TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (call_id, n)
);

CREATE TABLE taken (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('message','booking')),
    slot_key TEXT,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    canceled_at BIGINT
);
CREATE UNIQUE INDEX taken_slot ON taken (tenant_id, slot_key) WHERE slot_key IS NOT NULL AND canceled_at IS NULL;
