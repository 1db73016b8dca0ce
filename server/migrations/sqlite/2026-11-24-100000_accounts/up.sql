-- Who may ask for machines. Names and e-mails may be given again once an account is deleted.
CREATE TABLE account (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    email TEXT,
    role TEXT NOT NULL,
    password_hash TEXT,
    ssh_keys TEXT NOT NULL,
    quota TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER,
    deleted_at INTEGER
);
CREATE UNIQUE INDEX account_name ON account (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX account_email ON account (email) WHERE deleted_at IS NULL;

-- Credentials of accounts, by the SHA-256 of their secrets.
CREATE TABLE token (
    id TEXT PRIMARY KEY NOT NULL,
    account_id TEXT NOT NULL REFERENCES account (id),
    digest TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at INTEGER
);
CREATE UNIQUE INDEX token_digest ON token (digest);
CREATE INDEX token_account ON token (account_id);

-- Whose it is, and what they were called; absent if it was made while the server was open.
ALTER TABLE reservation ADD COLUMN account_id TEXT;
ALTER TABLE reservation ADD COLUMN account_name TEXT;
CREATE INDEX reservation_account ON reservation (account_id, created_at) WHERE account_id IS NOT NULL;

-- Whose doing an event was, where they asked from, and the chain of hashes: see model/src/audit.rs.
ALTER TABLE event ADD COLUMN actor TEXT NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN source TEXT;
ALTER TABLE event ADD COLUMN hash TEXT NOT NULL DEFAULT '';
