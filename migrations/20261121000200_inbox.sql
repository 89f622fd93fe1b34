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

-- Stores an event and enqueues its job: one statement, one commit. False: the event was known, and nothing was done.
CREATE FUNCTION bursar.receive(source text, id text, type text, created timestamptz, livemode boolean, api_version text,
                               account text, object_id text, body bytea, kind text, max_attempts integer)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bursar.event VALUES (receive.source, receive.id, receive.type, receive.created, receive.livemode,
        receive.api_version, receive.account, receive.object_id, clock_timestamp(), receive.body)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN RETURN false; END IF;
    PERFORM bursar.enqueue(jsonb_build_array(jsonb_build_object(
        'kind', receive.kind, 'key', receive.id, 'max_attempts', receive.max_attempts, 'cause', receive.id,
        'args', jsonb_build_object('source', receive.source, 'event', receive.id))));
    RETURN true;
END $$;
