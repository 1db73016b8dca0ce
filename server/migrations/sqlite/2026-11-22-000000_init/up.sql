-- Facts only: every visible state is computed from these rows.
-- Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);

CREATE TABLE pool (
    name TEXT PRIMARY KEY NOT NULL,
    provider TEXT NOT NULL,
    image TEXT NOT NULL,
    size INTEGER NOT NULL,
    labels TEXT NOT NULL,
    problem TEXT
);

CREATE TABLE machine (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    labels TEXT NOT NULL,
    pool TEXT,
    created_at INTEGER NOT NULL,
    incarnation TEXT,
    credential TEXT,
    next_uid INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    seen_generation INTEGER NOT NULL,
    seen_at INTEGER,
    problem TEXT,
    facts TEXT NOT NULL,
    cordoned_at INTEGER,
    retired_at INTEGER,
    aside_until INTEGER,
    aside_why TEXT,
    failures INTEGER NOT NULL,
    gone_at INTEGER
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
    count INTEGER NOT NULL,
    labels TEXT NOT NULL,
    named INTEGER NOT NULL,
    account TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    ended_by TEXT,
    reason TEXT
);
CREATE INDEX reservation_live ON reservation (expires_at) WHERE ended_at IS NULL;

CREATE TABLE assignment (
    id TEXT PRIMARY KEY NOT NULL,
    reservation_id TEXT NOT NULL REFERENCES reservation (id),
    machine_id TEXT NOT NULL REFERENCES machine (id),
    uid INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ready_at INTEGER,
    refused_at INTEGER,
    given_up_at INTEGER,
    cleaned_at INTEGER,
    attempts INTEGER NOT NULL,
    last_error TEXT
);
-- One holder per machine: the database decides every race, here.
CREATE UNIQUE INDEX assignment_open ON assignment (machine_id) WHERE cleaned_at IS NULL;
CREATE INDEX assignment_reservation ON assignment (reservation_id);

-- A join token lets one agent enrol; the first credential that uses it keeps it.
CREATE TABLE join_token (
    digest TEXT PRIMARY KEY NOT NULL,
    machine_id TEXT NOT NULL REFERENCES machine (id),
    expires_at INTEGER NOT NULL,
    credential TEXT
);

CREATE TABLE idempotency (
    key TEXT PRIMARY KEY NOT NULL,
    request TEXT NOT NULL,
    resource TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    machine TEXT,
    reservation TEXT,
    detail TEXT NOT NULL
);
