-- Jobs acted on in bulk are put down when the act begins, as payouts are: which match later is no matter of time alone, for a scheduled job
-- becomes ready and a ready one runs. A row is gone once its job was acted on. An act of the previous version has none, and goes by its
-- filter; the previous version goes by the filter, too.
CREATE TABLE bursar.bulk_job (
    bulk   text NOT NULL REFERENCES bursar.bulk (id),
    job_id text NOT NULL,
    PRIMARY KEY (bulk, job_id)
);
ALTER TABLE bursar.bulk ADD COLUMN put_down boolean NOT NULL DEFAULT false;
