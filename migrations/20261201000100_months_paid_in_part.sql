-- A month that was paid in part grants a part: what its plan grants in full is kept beside it, for a change of plan counts from that.
-- NULL: the month was paid in full, and `value` is both.
ALTER TABLE bursar.service_month ADD COLUMN plan_value bigint;
-- How many months of service the period pays for that begins with this month, as a fraction; NULL: as many as its length has.
ALTER TABLE bursar.service_month ADD COLUMN paid_num bigint;
ALTER TABLE bursar.service_month ADD COLUMN paid_den bigint;
ALTER TABLE bursar.service_month ADD CONSTRAINT service_month_paid_is_a_fraction
    CHECK ((paid_num IS NULL) = (paid_den IS NULL) AND (paid_num IS NULL OR paid_num > 0 AND paid_den > 0)) NOT VALID;
