-- What a pool runs that nobody logs in to, as JSON; absent: its machines are lent.
ALTER TABLE pool ADD COLUMN service TEXT;
