-- What taking an account away came to, as JSON.
ALTER TABLE assignment ADD COLUMN cleaning TEXT;
CREATE INDEX assignment_cleaning ON assignment (machine_id) WHERE cleaning IS NOT NULL;

-- Whether the accounts may become root; `account` is forgotten at the end, this is not.
ALTER TABLE reservation ADD COLUMN sudo BIGINT NOT NULL DEFAULT 0;
UPDATE reservation SET sudo = 1 WHERE account LIKE '%"sudo":true%';

-- A range, or `fleet`.
ALTER TABLE machine ADD COLUMN uids TEXT NOT NULL DEFAULT '66000-99999';
-- Who speaks for it: see model/src/session.rs.
ALTER TABLE machine ADD COLUMN session TEXT;
ALTER TABLE machine ADD COLUMN former_sessions TEXT NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN challenge BIGINT;
ALTER TABLE machine ADD COLUMN has_returned BIGINT NOT NULL DEFAULT 0;
ALTER TABLE machine ADD COLUMN quarantined TEXT;
-- Machines that are gone are asked about by name, too.
CREATE INDEX machine_named ON machine (name);

ALTER TABLE pool ADD COLUMN uids TEXT NOT NULL DEFAULT '66000-99999';
ALTER TABLE pool ADD COLUMN after_use TEXT NOT NULL DEFAULT 'clean';
ALTER TABLE pool ADD COLUMN losses_accepted_until BIGINT;
