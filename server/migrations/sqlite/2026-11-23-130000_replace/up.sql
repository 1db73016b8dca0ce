-- `keep` or `replace`: what becomes of a seat whose machine is no longer heard of.
ALTER TABLE reservation ADD COLUMN on_failure TEXT NOT NULL DEFAULT 'keep';

ALTER TABLE pool ADD COLUMN spare INTEGER NOT NULL DEFAULT 0;
-- In seconds.
ALTER TABLE pool ADD COLUMN grace INTEGER NOT NULL DEFAULT 300;
