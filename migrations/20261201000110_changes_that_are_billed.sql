-- Whether anything bills a change of plan: one that nothing bills (Stripe: `proration_behavior=none`) grants nothing before the renewal.
-- What was noted before, or is noted by the version before, counts as it did.
ALTER TABLE bursar.plan_change ADD COLUMN billed boolean NOT NULL DEFAULT true;
