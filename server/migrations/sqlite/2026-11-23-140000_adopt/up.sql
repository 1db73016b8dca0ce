-- What the machine's own agent dials, if it has one or is to get one.
ALTER TABLE ssh_access ADD COLUMN adopt_server TEXT;
-- Its agent was put there, and is to enrol within a minute.
ALTER TABLE ssh_access ADD COLUMN agent_installed_at INTEGER;
-- Its agent has enrolled, and speaks for it.
ALTER TABLE ssh_access ADD COLUMN adopted_at INTEGER;
-- Somebody wants its agent away.
ALTER TABLE ssh_access ADD COLUMN release_asked_at INTEGER;
-- Of tries in a row to bring or to take it, and what the last one said.
ALTER TABLE ssh_access ADD COLUMN adopt_failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ssh_access ADD COLUMN adopt_tried_at INTEGER;
ALTER TABLE ssh_access ADD COLUMN adopt_error TEXT;
