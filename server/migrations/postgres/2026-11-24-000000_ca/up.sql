-- By which CA the machine's own agent knows the server, in PEM; without one by those its machine trusts.
ALTER TABLE ssh_access ADD COLUMN adopt_ca TEXT;
