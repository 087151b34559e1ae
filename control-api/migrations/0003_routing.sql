-- How calls come and go: trunks, numbers, rules.
-- Portable text for SQLite and PostgreSQL: TEXT and BIGINT only; times in ms, money in millionths of a dollar, flags 0 or 1, JSON in TEXT.

CREATE TABLE trunks (
    id TEXT PRIMARY KEY,
    tenant_id TEXT REFERENCES tenants(id),
    name TEXT NOT NULL,
    direction TEXT NOT NULL DEFAULT 'both' CHECK (direction IN ('inbound','outbound','both')),
    config TEXT NOT NULL,
    sealed_secrets TEXT,
    max_channels BIGINT NOT NULL DEFAULT 30,
    max_cps BIGINT NOT NULL DEFAULT 5,
    enabled BIGINT NOT NULL DEFAULT 1,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX trunks_tenant ON trunks (tenant_id, created_at, id);

CREATE TABLE trunk_gateways (
    id TEXT PRIMARY KEY,
    trunk_id TEXT NOT NULL REFERENCES trunks(id),
    host TEXT NOT NULL,
    port BIGINT,
    transport TEXT NOT NULL DEFAULT 'udp' CHECK (transport IN ('udp','tcp','tls')),
    cidr TEXT,
    inbound BIGINT NOT NULL DEFAULT 1,
    outbound BIGINT NOT NULL DEFAULT 1,
    priority BIGINT NOT NULL DEFAULT 0,
    weight BIGINT NOT NULL DEFAULT 1
);
CREATE INDEX trunk_gateways_trunk ON trunk_gateways (trunk_id, priority);

CREATE TABLE trunk_status (
    trunk_id TEXT NOT NULL REFERENCES trunks(id),
    gateway_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT,
    sip_status BIGINT,
    rtt_ms BIGINT,
    registered_until BIGINT,
    checked_at BIGINT NOT NULL,
    PRIMARY KEY (trunk_id, gateway_id, node_id)
);

CREATE TABLE numbers (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    e164 TEXT NOT NULL,
    label TEXT,
    carrier TEXT NOT NULL CHECK (carrier IN ('twilio','telnyx','none')),
    carrier_ref TEXT,
    kind TEXT NOT NULL DEFAULT 'local',
    country TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending','active','porting','releasing','released','failed')),
    trunk_id TEXT REFERENCES trunks(id),
    agent_id TEXT REFERENCES agents(id),
    routing TEXT NOT NULL DEFAULT '{}',
    capabilities TEXT NOT NULL DEFAULT '{"voice":true,"sms":false}',
    monthly_micros BIGINT NOT NULL DEFAULT 0,
    next_bill_at BIGINT,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    released_at BIGINT
);
CREATE UNIQUE INDEX numbers_live ON numbers (e164) WHERE released_at IS NULL;
CREATE INDEX numbers_tenant ON numbers (tenant_id, created_at, id);
CREATE INDEX numbers_bill ON numbers (next_bill_at) WHERE released_at IS NULL;

CREATE TABLE number_orders (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('buy','port','release')),
    e164 TEXT NOT NULL,
    carrier TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('started','carrier_ok','done','failed','compensated',
        'submitted','pending','foc_confirmed','exception','rejected','completed','canceled')),
    data TEXT NOT NULL DEFAULT '{}',
    sealed TEXT,
    number_id TEXT,
    error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- The numbers of a port request, each with its own fate.
CREATE TABLE number_ports (
    order_id TEXT NOT NULL REFERENCES number_orders(id),
    number_id TEXT NOT NULL,
    e164 TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('submitted','pending','foc_confirmed','exception','rejected','completed','canceled')),
    port_ref TEXT,
    reason TEXT,
    foc_date TEXT,
    cancel_asked BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (order_id, number_id)
);
CREATE INDEX number_ports_number ON number_ports (number_id);

CREATE TABLE dispatch_rules (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    name TEXT NOT NULL,
    priority BIGINT NOT NULL DEFAULT 100,
    matcher TEXT NOT NULL,
    action TEXT NOT NULL,
    variables TEXT NOT NULL DEFAULT '{}',
    enabled BIGINT NOT NULL DEFAULT 1,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX dispatch_rules_order ON dispatch_rules (tenant_id, enabled, priority, id);

CREATE TABLE do_not_call (
    tenant_id TEXT NOT NULL,
    e164 TEXT NOT NULL,
    reason TEXT NOT NULL,
    call_id TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, e164)
);
