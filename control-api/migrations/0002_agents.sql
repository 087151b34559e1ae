-- Who speaks: agents with their versions, and what they know.
-- Portable text for SQLite and PostgreSQL: TEXT and BIGINT only; times in ms, money in millionths of a dollar, flags 0 or 1, JSON in TEXT.

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants(id),
    name TEXT NOT NULL,
    config TEXT NOT NULL,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX agents_tenant ON agents (tenant_id, created_at, id);

CREATE TABLE agent_versions (
    agent_id TEXT NOT NULL REFERENCES agents(id),
    version BIGINT NOT NULL,
    tenant_id TEXT NOT NULL,
    config TEXT NOT NULL,
    note TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, version)
);

CREATE TABLE knowledge_docs (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    agent_id TEXT NOT NULL REFERENCES agents(id),
    title TEXT NOT NULL,
    kind TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued','indexing','ready','failed')),
    error TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (agent_id, sha256)
);

CREATE TABLE knowledge_chunks (
    doc_id TEXT NOT NULL REFERENCES knowledge_docs(id),
    n BIGINT NOT NULL,
    agent_id TEXT NOT NULL,
    text TEXT NOT NULL,
    terms TEXT NOT NULL,
    embedding TEXT,
    PRIMARY KEY (doc_id, n)
);
CREATE INDEX knowledge_chunks_agent ON knowledge_chunks (agent_id);
