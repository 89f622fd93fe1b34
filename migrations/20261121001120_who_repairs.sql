-- Which way whoever wants a comparison's findings repaired came: the audit of each repair says so.
ALTER TABLE bursar.reconciliation
    ADD COLUMN repair_via text CONSTRAINT reconciliation_via_known CHECK (repair_via IN ('cli', 'console', 'api', 'schedule'));
