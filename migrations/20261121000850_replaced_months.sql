-- A month that began before the one before it was over, and for whose rest Stripe gave the money back: a switch from the month to the
-- year, or back. The rest of the earlier one's credits goes back too, or each switch would grant a month for nothing.
ALTER TABLE bursar.service_month ADD COLUMN replaces boolean NOT NULL DEFAULT false;
