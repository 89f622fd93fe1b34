-- Payouts let go in bulk. What an operator has confirmed is put down payout by payout, each as it stood then: only those are let go, and
-- only those that still stand so, whoever does it and however often it was asked for. The previous version knows no such act: it cannot
-- read it, and leaves it alone.
ALTER TABLE bursar.bulk DROP CONSTRAINT bulk_verb_known,
    ADD CONSTRAINT bulk_verb_known CHECK (verb IN ('retry', 'cancel', 'release'));

CREATE TABLE bursar.bulk_payout (
    bulk     text NOT NULL REFERENCES bursar.bulk (id),
    job_id   text NOT NULL,
    state    text NOT NULL,                          -- as it stood when it was confirmed
    releases integer NOT NULL,                       -- how often it had been let go by then
    PRIMARY KEY (bulk, job_id)
);
