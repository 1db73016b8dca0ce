-- What one server does at a time; see server/src/store/claim.rs.
CREATE TABLE claim (
    thing TEXT PRIMARY KEY NOT NULL,
    server BIGINT NOT NULL,
    fence BIGINT NOT NULL
);

-- Where the machines of a pool were made, if they cannot be seen from elsewhere.
ALTER TABLE pool ADD COLUMN home TEXT;

-- Each line of a server to the database has a number of its own; see server/src/store/line.rs.
CREATE SEQUENCE line_number AS INTEGER;

-- What one server writes the database tells the others, when it is committed: no write can forget it.
CREATE FUNCTION tell_of_machine() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'machine ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER machine_made AFTER INSERT ON machine
    FOR EACH ROW EXECUTE FUNCTION tell_of_machine();
CREATE TRIGGER machine_changed AFTER UPDATE OF generation, retired_at, quarantined ON machine
    FOR EACH ROW WHEN (NEW.gone_at IS NULL
        AND (OLD.generation, OLD.retired_at, OLD.quarantined)
            IS DISTINCT FROM (NEW.generation, NEW.retired_at, NEW.quarantined))
    EXECUTE FUNCTION tell_of_machine();

CREATE FUNCTION tell_of_machine_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'gone ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER machine_gone AFTER UPDATE OF gone_at ON machine
    FOR EACH ROW WHEN (OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL)
    EXECUTE FUNCTION tell_of_machine_gone();

-- Its agent has seen the newest spec: somebody may wait for that.
CREATE FUNCTION tell_of_machine_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'reservation ' || reservation_id)
        FROM assignment WHERE machine_id = NEW.id AND cleaned_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER machine_settled AFTER UPDATE OF seen_generation ON machine
    FOR EACH ROW WHEN (OLD.seen_generation <> NEW.seen_generation)
    EXECUTE FUNCTION tell_of_machine_settled();

-- How a machine is logged in to.
CREATE FUNCTION tell_of_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'access ' || NEW.machine_id);
    RETURN NULL;
END $$;
CREATE TRIGGER access_changed AFTER UPDATE ON ssh_access
    FOR EACH ROW WHEN ((OLD.username, OLD.auth, OLD.key_file, OLD.sealed, OLD.host_key, OLD.awaited_host_key, OLD.jump,
            OLD.adopt_server, OLD.release_asked_at)
        IS DISTINCT FROM (NEW.username, NEW.auth, NEW.key_file, NEW.sealed, NEW.host_key, NEW.awaited_host_key, NEW.jump,
            NEW.adopt_server, NEW.release_asked_at))
    EXECUTE FUNCTION tell_of_access();
CREATE FUNCTION tell_of_machine_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'access ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER machine_moved AFTER UPDATE OF host, port ON machine
    FOR EACH ROW WHEN ((OLD.host, OLD.port) IS DISTINCT FROM (NEW.host, NEW.port))
    EXECUTE FUNCTION tell_of_machine_moved();

CREATE FUNCTION tell_of_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'reservation ' || NEW.reservation_id);
    IF NEW.cleaned_at IS NOT NULL THEN
        PERFORM pg_notify('berth', 'machine ' || NEW.machine_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER assignment_changed AFTER UPDATE OF ready_at, refused_at, given_up_at, cleaned_at ON assignment
    FOR EACH ROW WHEN ((OLD.ready_at, OLD.refused_at, OLD.given_up_at, OLD.cleaned_at)
        IS DISTINCT FROM (NEW.ready_at, NEW.refused_at, NEW.given_up_at, NEW.cleaned_at))
    EXECUTE FUNCTION tell_of_seat();

CREATE FUNCTION tell_of_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'reservation ' || NEW.id);
    IF NEW.ended_at IS NULL THEN
        PERFORM pg_notify('berth', 'end ' || NEW.expires_at);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reservation_made AFTER INSERT ON reservation
    FOR EACH ROW EXECUTE FUNCTION tell_of_reservation();
CREATE TRIGGER reservation_changed AFTER UPDATE OF expires_at, ended_at ON reservation
    FOR EACH ROW WHEN ((OLD.expires_at, OLD.ended_at) IS DISTINCT FROM (NEW.expires_at, NEW.ended_at))
    EXECUTE FUNCTION tell_of_reservation();

CREATE FUNCTION tell_of_pools() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth', 'pools');
    RETURN NULL;
END $$;
CREATE TRIGGER pool_made AFTER INSERT ON pool
    FOR EACH ROW EXECUTE FUNCTION tell_of_pools();
CREATE TRIGGER pool_changed AFTER UPDATE OF provider, image, size, after_use, losses_accepted_until ON pool
    FOR EACH ROW WHEN ((OLD.provider, OLD.image, OLD.size, OLD.after_use, OLD.losses_accepted_until)
        IS DISTINCT FROM (NEW.provider, NEW.image, NEW.size, NEW.after_use, NEW.losses_accepted_until))
    EXECUTE FUNCTION tell_of_pools();
