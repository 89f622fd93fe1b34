-- The inbox: every event as it was received, byte for byte. A row here is what a 2xx promises.
CREATE TABLE bursar.event (
    source      text NOT NULL CONSTRAINT event_source_known CHECK (source IN ('stripe', 'verification')),
    id          text NOT NULL,
    type        text NOT NULL,
    created     timestamptz,                       -- the sender's claim, in whole seconds: never used to order or to deduplicate
    livemode    boolean,
    api_version text,
    account     text,                              -- present: it happened on a connected account
    object_id   text,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body        bytea,                             -- null once pruned; the id stays, so that nothing is taken for new again
    PRIMARY KEY (id, source)
);
CREATE INDEX event_by_receipt ON bursar.event (received_at);
CREATE INDEX event_by_object ON bursar.event (object_id) WHERE object_id IS NOT NULL;

-- Stores an event and enqueues its job: one statement, one commit. 'new'; 'duplicate': the event was known, and nothing was done;
-- 'conflict': one of the application's own came under a known id with another body, which must not be acknowledged.
CREATE FUNCTION bursar.receive(source text, id text, type text, created timestamptz, livemode boolean, api_version text,
                               account text, object_id text, body bytea, kind text, max_attempts integer)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    job   jsonb;
    known bytea;
BEGIN
    INSERT INTO bursar.event VALUES (receive.source, receive.id, receive.type, receive.created, receive.livemode,
        receive.api_version, receive.account, receive.object_id, clock_timestamp(), receive.body)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        IF receive.source = 'verification' THEN
            SELECT e.body INTO known FROM bursar.event e WHERE e.id = receive.id AND e.source = receive.source;
            IF known <> receive.body THEN RETURN 'conflict'; END IF;
        END IF;
        RETURN 'duplicate';
    END IF;
    job := jsonb_build_object('kind', receive.kind, 'key', receive.id, 'max_attempts', receive.max_attempts, 'cause', receive.id,
        'args', jsonb_build_object('source', receive.source, 'event', receive.id));
    IF (SELECT q.already FROM bursar.enqueue(jsonb_build_array(job)) q) THEN
        -- The other source has sent this id, and of the same kind: two events, two jobs.
        PERFORM bursar.enqueue(jsonb_build_array(job || jsonb_build_object('key', receive.source || ':' || receive.id)));
    END IF;
    RETURN 'new';
END $$;
