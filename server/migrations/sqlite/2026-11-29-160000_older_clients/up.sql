-- Older clients know accounts by numbers, in the order they were made in, and by names with blanks.
ALTER TABLE account ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN full_name TEXT;
UPDATE account SET number =
    (SELECT count(*) FROM account earlier WHERE (earlier.created_at, earlier.id) <= (account.created_at, account.id));
CREATE UNIQUE INDEX account_number ON account (number);

-- What machines of a pool are, one after another.
ALTER TABLE pool ADD COLUMN sizes TEXT NOT NULL DEFAULT '[]';
