-- `keep` or `replace`: what becomes of a seat whose machine is no longer heard of.
ALTER TABLE reservation ADD COLUMN on_failure TEXT NOT NULL DEFAULT 'keep';
-- Few reservations want that, and a sweep looks for them.
CREATE INDEX reservation_replacing ON reservation (id) WHERE ended_at IS NULL AND on_failure = 'replace';

ALTER TABLE pool ADD COLUMN spare INTEGER NOT NULL DEFAULT 0;
-- In seconds.
ALTER TABLE pool ADD COLUMN grace INTEGER NOT NULL DEFAULT 300;
