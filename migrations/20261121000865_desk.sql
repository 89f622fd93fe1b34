-- What the operators' desk asks: what a job has sent, and what is acted on in bulk.
CREATE INDEX call_by_job ON bursar.call (job_id);

-- One act on all jobs that match a filter: begun by an operator, done a chunk at a time by whoever comes first, a worker's job or the
-- operator's own command. What it has done so far is here, so that a crash of either loses nothing.
CREATE TABLE bursar.bulk (
    id        text PRIMARY KEY DEFAULT bursar.new_id(),
    verb      text NOT NULL CONSTRAINT bulk_verb_known CHECK (verb IN ('retry', 'cancel')),
    filter    jsonb NOT NULL,
    who       text NOT NULL,
    via       text NOT NULL,
    why       text,
    begun_at  timestamptz NOT NULL DEFAULT bursar.now(),  -- what came to match after this is left alone
    cursor_id text,                                       -- the last job looked at: the next has a lower id
    matching  bigint NOT NULL,                            -- how many matched when it began
    changed   bigint NOT NULL DEFAULT 0,
    skipped   bigint NOT NULL DEFAULT 0,                  -- matched, but were in another state by then
    ended_at  timestamptz
);
