-- How far Stripe's own list of events was compared with the inbox. One row, made when a worker first starts with Stripe on: what happened
-- before that is nobody's gap.
CREATE TABLE bursar.event_watch (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    began_at       timestamptz NOT NULL,             -- nothing created before this is looked for
    -- Every event of a type that is acted on, created before this, is in the inbox. Moved by a walk that came to its end, never back.
    compared_until timestamptz NOT NULL,
    compared_at    timestamptz                       -- when a walk last came to its end
);

-- Events that never arrived and were found in Stripe's list. They are in the inbox too, and have become jobs like any other.
CREATE TABLE bursar.missed_event (
    event_id text PRIMARY KEY,
    type     text NOT NULL,
    created  timestamptz,
    found_at timestamptz NOT NULL,
    walk     timestamptz NOT NULL,                   -- when the walk began that found it
    -- Its webhook had had time to come. A younger one may have been on its way: it was taken all the same, and is no sign of trouble.
    overdue  boolean NOT NULL
);
CREATE INDEX missed_event_of_walk ON bursar.missed_event (walk);
CREATE INDEX missed_event_by_finding ON bursar.missed_event (found_at);
