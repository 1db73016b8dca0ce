-- What one server does at a time; see server/src/store/claim.rs.
CREATE TABLE claim (
    thing TEXT PRIMARY KEY NOT NULL,
    server INTEGER NOT NULL,
    fence INTEGER NOT NULL
);

-- Where the machines of a pool were made, if they cannot be seen from elsewhere.
ALTER TABLE pool ADD COLUMN home TEXT;
