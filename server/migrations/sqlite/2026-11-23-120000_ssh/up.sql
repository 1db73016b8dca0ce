-- How the server logs in to machines that have no agent of their own.
CREATE TABLE ssh_access (
    machine_id TEXT PRIMARY KEY NOT NULL REFERENCES machine (id),
    username TEXT NOT NULL,
    -- `password`, `private_key`, or `key_file`, whose path is `key_file`.
    auth TEXT NOT NULL,
    key_file TEXT,
    -- Passwords and keys, as JSON, sealed with a key that is not in this database.
    sealed TEXT NOT NULL,
    -- The line of the public key that is pinned.
    host_key TEXT,
    -- The fingerprint that was given, or `accept-new`, as long as no key of the machine was seen.
    awaited_host_key TEXT,
    -- What the machine showed and nobody has confirmed.
    offered_host_key TEXT,
    -- The machine through which this one is reached.
    jump TEXT REFERENCES machine (id),
    -- Of visits in a row, and what the last one said.
    failures INTEGER NOT NULL,
    tried_at INTEGER,
    error TEXT
);
CREATE INDEX ssh_access_jump ON ssh_access (jump);
