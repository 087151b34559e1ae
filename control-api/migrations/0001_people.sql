-- Who may do what: tenants, users and their sessions, keys, the audit log, sealed credentials.
-- Portable text for SQLite and PostgreSQL: TEXT and BIGINT only; times in ms, money in millionths of a dollar, flags 0 or 1, JSON in TEXT.

CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active','suspended','deleting','deleted')),
    timezone TEXT NOT NULL DEFAULT 'UTC',
    settings TEXT NOT NULL DEFAULT '{}',
    rate_plan_id TEXT NOT NULL,
    max_calls BIGINT NOT NULL DEFAULT 20,
    max_cps BIGINT NOT NULL DEFAULT 2,
    countries TEXT NOT NULL DEFAULT '["US","CA"]',
    max_rate_micros BIGINT NOT NULL DEFAULT 500000,
    daily_cap_micros BIGINT,
    monthly_cap_micros BIGINT,
    country_caps TEXT NOT NULL DEFAULT '{}',
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    name TEXT NOT NULL,
    avatar_url TEXT,
    is_platform_admin BIGINT NOT NULL DEFAULT 0 CHECK (is_platform_admin IN (0,1)),
    email_verified_at BIGINT,
    blocked_at BIGINT,
    token_epoch BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);

CREATE TABLE memberships (
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    user_id TEXT NOT NULL REFERENCES users(id),
    role TEXT NOT NULL CHECK (role IN ('owner','admin','developer','analyst')),
    blocked_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id);

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    email_key TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner','admin','developer','analyst')),
    token_hash TEXT NOT NULL UNIQUE,
    invited_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    accepted_at BIGINT,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX invitations_open ON invitations (tenant_id, email_key) WHERE accepted_at IS NULL AND revoked_at IS NULL;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users(id),
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    refresh_hash TEXT NOT NULL UNIQUE,
    prev_refresh_hash TEXT,
    ip TEXT,
    user_agent TEXT,
    created_at BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id, revoked_at);
CREATE INDEX sessions_prev ON sessions (prev_refresh_hash);

CREATE TABLE one_time_tokens (
    token_hash TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('password_reset','email_verify','oauth_state','oauth_code','ws_ticket')),
    user_id TEXT,
    tenant_id TEXT,
    data TEXT NOT NULL DEFAULT '{}',
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);

CREATE TABLE oauth_identities (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users(id),
    email_key TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider, subject)
);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    alg TEXT NOT NULL DEFAULT 'RS256',
    public_jwk TEXT NOT NULL,
    sealed_private TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('next','active','retired')),
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active';

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('live','test','public')),
    prefix TEXT NOT NULL,
    key_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL DEFAULT '[]',
    agent_ids TEXT,
    origins TEXT,
    allowed_ips TEXT,
    rate_per_min BIGINT NOT NULL DEFAULT 100,
    created_by TEXT,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX api_keys_public ON api_keys (tenant_id) WHERE kind = 'public' AND revoked_at IS NULL;
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at, id);

CREATE TABLE audit_log (
    id TEXT PRIMARY KEY,
    tenant_id TEXT,
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT,
    diff TEXT,
    ip TEXT,
    request_id TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX audit_tenant ON audit_log (tenant_id, created_at, id);

CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed TEXT NOT NULL,
    hint TEXT NOT NULL,
    base_url TEXT,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, provider, name)
);
