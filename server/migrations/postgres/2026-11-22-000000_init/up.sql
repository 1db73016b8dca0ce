-- Facts only: every visible state is computed from these rows.
-- Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);

CREATE TABLE pool (
    name TEXT PRIMARY KEY NOT NULL,
    provider TEXT NOT NULL,
    image TEXT NOT NULL,
    size BIGINT NOT NULL,
    labels TEXT NOT NULL,
    problem TEXT
);

CREATE TABLE machine (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    port BIGINT NOT NULL,
    labels TEXT NOT NULL,
    pool TEXT,
    created_at BIGINT NOT NULL,
    incarnation TEXT,
    credential TEXT,
    next_uid BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    seen_generation BIGINT NOT NULL,
    seen_at BIGINT,
    problem TEXT,
    facts TEXT NOT NULL,
    cordoned_at BIGINT,
    retired_at BIGINT,
    aside_until BIGINT,
    aside_why TEXT,
    failures BIGINT NOT NULL,
    gone_at BIGINT
);
CREATE UNIQUE INDEX machine_name ON machine (name) WHERE gone_at IS NULL;
CREATE UNIQUE INDEX machine_credential ON machine (credential);
CREATE INDEX machine_pool ON machine (pool) WHERE gone_at IS NULL;
-- Where machines to give away are looked for, in order.
CREATE INDEX machine_offered ON machine (id)
    WHERE gone_at IS NULL AND retired_at IS NULL AND cordoned_at IS NULL;

CREATE TABLE reservation (
    id TEXT PRIMARY KEY NOT NULL,
    username TEXT NOT NULL,
    count BIGINT NOT NULL,
    labels TEXT NOT NULL,
    named BIGINT NOT NULL,
    account TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    ended_by TEXT,
    reason TEXT
);
CREATE INDEX reservation_live ON reservation (expires_at) WHERE ended_at IS NULL;

CREATE TABLE assignment (
    id TEXT PRIMARY KEY NOT NULL,
    reservation_id TEXT NOT NULL REFERENCES reservation (id),
    machine_id TEXT NOT NULL REFERENCES machine (id),
    uid BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ready_at BIGINT,
    refused_at BIGINT,
    given_up_at BIGINT,
    cleaned_at BIGINT,
    attempts BIGINT NOT NULL,
    last_error TEXT
);
-- One holder per machine: the database decides every race, here.
CREATE UNIQUE INDEX assignment_open ON assignment (machine_id) WHERE cleaned_at IS NULL;
CREATE INDEX assignment_reservation ON assignment (reservation_id);

-- A join token lets one agent enrol; the first credential that uses it keeps it.
CREATE TABLE join_token (
    digest TEXT PRIMARY KEY NOT NULL,
    machine_id TEXT NOT NULL REFERENCES machine (id),
    expires_at BIGINT NOT NULL,
    credential TEXT
);

CREATE TABLE idempotency (
    key TEXT PRIMARY KEY NOT NULL,
    request TEXT NOT NULL,
    resource TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE event (
    seq BIGSERIAL PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    machine TEXT,
    reservation TEXT,
    detail TEXT NOT NULL
);
