-- Selling: what is asked for at a checkout, what it came to, and the packages there are.

-- A package of credits for one payment. Seeded from the configuration when a process starts; a row that somebody changed by SQL
-- stays as it is. To take one out of sale set active to false: a row that is deleted comes back from the configuration.
CREATE TABLE bursar.credit_packages (
    name            text PRIMARY KEY CONSTRAINT credit_packages_name_sane CHECK (length(name) BETWEEN 1 AND 100),
    -- In credits, not in millionths: people write this.
    credits         numeric NOT NULL CONSTRAINT credit_packages_credits_countable
                    CHECK (credits > 0 AND credits <= 9000000000000 AND credits = trunc(credits, 6)),
    -- The price before discounts and tax, in the currency's minor unit; Stripe takes eight digits.
    amount          bigint NOT NULL CONSTRAINT credit_packages_amount_payable CHECK (amount BETWEEN 1 AND 99999999),
    currency        text NOT NULL CONSTRAINT credit_packages_currency_known CHECK (currency ~ '^[a-z]{3}$'),
    stripe_price_id text CONSTRAINT credit_packages_price_once UNIQUE,      -- without one, a price is made with each checkout
    active          boolean NOT NULL DEFAULT true,
    seeded          jsonb                                                   -- what the configuration said when it was last taken over
);
-- Where a payment names no price of ours, it is told by its amount.
CREATE UNIQUE INDEX credit_packages_amount_once ON bursar.credit_packages (amount, currency) WHERE active;

-- Takes the configuration's packages over. `packages` is an array of {name, credits, amount, currency, stripe_price_id}.
-- A row follows the configuration as long as it is what the configuration made of it. Each by itself: one that collides with what
-- somebody wrote (a price, an amount) is left out, and its name comes back.
CREATE FUNCTION bursar.seed_packages(packages jsonb) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    wanted jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('bursar.seed_packages', 0));
    FOR wanted IN SELECT p.value FROM jsonb_array_elements(packages) p ORDER BY p.value ->> 'name' LOOP
        BEGIN
            INSERT INTO bursar.credit_packages AS c (name, credits, amount, currency, stripe_price_id, seeded)
            VALUES (wanted ->> 'name', (wanted ->> 'credits')::numeric, (wanted ->> 'amount')::bigint, wanted ->> 'currency',
                    wanted ->> 'stripe_price_id', wanted)
            ON CONFLICT (name) DO UPDATE
            SET credits = excluded.credits, amount = excluded.amount, currency = excluded.currency,
                stripe_price_id = excluded.stripe_price_id, seeded = excluded.seeded
            WHERE c.active AND c.seeded IS DISTINCT FROM excluded.seeded
              AND (c.credits, c.amount, c.currency) = ((c.seeded ->> 'credits')::numeric, (c.seeded ->> 'amount')::bigint, c.seeded ->> 'currency')
              AND c.stripe_price_id IS NOT DISTINCT FROM c.seeded ->> 'stripe_price_id';
        EXCEPTION WHEN unique_violation OR check_violation THEN
            RETURN NEXT wanted ->> 'name';
        END;
    END LOOP;
END $$;

-- A customer that Stripe says was deleted is nobody's to buy with any more; another is made.
ALTER TABLE bursar.customer ADD COLUMN gone_at timestamptz;

-- One request to sell something, for ever: what it is, and what it came to. The credits of a purchase that was begun here are those
-- that were agreed on, whatever the packages say by the time it is paid.
CREATE TABLE bursar.checkout (
    id              text PRIMARY KEY,                                       -- from user and key; metadata.checkout at Stripe: what a look finds it by
    user_id         text NOT NULL,
    key             text NOT NULL,                                          -- the caller's Idempotency-Key, else one made for it
    asked           jsonb NOT NULL,                                         -- what the caller asked for: the same key stands for the same
    mode            text NOT NULL CONSTRAINT checkout_mode_known CHECK (mode IN ('payment', 'subscription')),
    item            text NOT NULL,                                          -- package:small, tier:pro, amount
    credits         bigint NOT NULL CONSTRAINT checkout_credits_positive CHECK (credits > 0),   -- millionths
    amount          bigint,                                                 -- before discounts and tax, minor units; null: the price's
    currency        text,
    fields          jsonb NOT NULL,                                         -- the parameters of the session but the customer's, as they go out
    state           text NOT NULL DEFAULT 'asked' CONSTRAINT checkout_state_known
                    CHECK (state IN ('asked', 'open', 'complete', 'expired', 'refused')),
    session_id      text CONSTRAINT checkout_session_once UNIQUE,           -- cs_...
    url             text,
    expires_at      timestamptz,
    payment_status  text,                                                   -- Stripe's word for a complete one
    subscription_id text,
    reason          text,                                                   -- why it is refused
    requested_at    timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at      timestamptz NOT NULL DEFAULT bursar.now(),
    CONSTRAINT checkout_once UNIQUE (user_id, key)
);
CREATE INDEX checkout_of_user ON bursar.checkout (user_id, requested_at);

-- One request for a page of Stripe's customer portal.
CREATE TABLE bursar.portal (
    id           text PRIMARY KEY DEFAULT bursar.new_id(),
    user_id      text NOT NULL,
    key          text NOT NULL,
    return_url   text,
    state        text NOT NULL DEFAULT 'asked' CONSTRAINT portal_state_known CHECK (state IN ('asked', 'open', 'refused')),
    url          text,
    reason       text,
    requested_at timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at   timestamptz NOT NULL DEFAULT bursar.now(),
    CONSTRAINT portal_once UNIQUE (user_id, key)
);
CREATE INDEX portal_of_user ON bursar.portal (user_id, requested_at);

-- Facts that jobs wait for: whose a customer is, and which customer a user has.
CREATE OR REPLACE FUNCTION bursar.is_known(fact text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN fact LIKE 'customer:%' THEN EXISTS (SELECT FROM bursar.customer c WHERE c.id = substr(fact, 10))
                WHEN fact LIKE 'customer_of:%' THEN
                    EXISTS (SELECT FROM bursar.customer c WHERE c.user_id = substr(fact, 13) AND c.gone_at IS NULL)
                ELSE false END
$$;

-- Where Stripe is off, credit checks pass: a worker says so when it starts (setting `credit_checks`: pass, or enforce). What a balance
-- covers is spent as ever; what it does not is 'done' without a posting, for credits that nobody can buy must stop nobody.
CREATE OR REPLACE FUNCTION bursar.spend(user_id text, credits numeric, key text, ref text DEFAULT NULL, why text DEFAULT NULL)
RETURNS TABLE (status text, posting_id bigint, balance numeric) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    micros  bigint;
    -- A colon within a user id is escaped: user 'a:b' with key 'c' is not user 'a' with key 'b:c'.
    unique_key text := 'spend:' || replace(replace(spend.user_id, '%', '%25'), ':', '%3A') || ':' || spend.key;
    payer   bursar.account;
    sink    bigint;
    known   bursar.posting;
BEGIN
    IF spend.user_id IS NULL OR length(spend.user_id) NOT BETWEEN 1 AND 255 OR spend.key IS NULL OR length(spend.key) NOT BETWEEN 1 AND 255
       OR spend.credits IS NULL OR spend.credits <= 0 OR spend.credits > 9000000000000
       OR spend.credits * 1000000 <> trunc(spend.credits * 1000000) THEN
        RETURN QUERY SELECT 'invalid', NULL::bigint, NULL::numeric; RETURN;
    END IF;
    micros := spend.credits * 1000000;
    SELECT a.id INTO sink FROM bursar.account a WHERE a.name = 'usage' AND a.unit = 'credits';
    SELECT a.* INTO payer FROM bursar.account a WHERE a.name = 'user:' || spend.user_id AND a.unit = 'credits' FOR NO KEY UPDATE;
    SELECT p.* INTO known FROM bursar.posting p WHERE p.key = unique_key;
    IF known.id IS NOT NULL THEN
        RETURN QUERY SELECT CASE WHEN known.debit = payer.id AND known.amount = micros AND known.ref IS NOT DISTINCT FROM spend.ref THEN 'done' ELSE 'conflict' END,
                            known.id, trim_scale(payer.balance * 0.000001);
        RETURN;
    END IF;
    IF payer.id IS NULL OR payer.balance < micros THEN
        RETURN QUERY SELECT CASE WHEN EXISTS (SELECT FROM bursar.setting s WHERE s.name = 'credit_checks' AND s.value = 'pass') THEN 'done' ELSE 'short' END,
                            NULL::bigint, trim_scale(coalesce(payer.balance, 0) * 0.000001);
        RETURN;
    END IF;
    INSERT INTO bursar.posting AS p (key, kind, debit, credit, amount, ref, why)
    VALUES (unique_key, 'spend', payer.id, sink, micros, spend.ref, spend.why) RETURNING p.* INTO known;
    UPDATE bursar.account a SET balance = a.balance - micros WHERE a.id = payer.id;
    RETURN QUERY SELECT 'done', known.id, trim_scale((payer.balance - micros) * 0.000001);
END $$;

-- What moved on users' accounts, under the names that operators know. The amount is signed, in credits.
CREATE VIEW bursar.credit_transactions AS
SELECT m.id, substr(a.name, 6) AS user_id,
       CASE WHEN m.kind IN ('purchase', 'refill', 'admin_grant', 'admin_removal', 'spend', 'reversal', 'expiry') THEN m.kind
            WHEN m.kind = 'initial' THEN 'admin_grant'                      -- what a new user starts with
            WHEN m.reverses IS NOT NULL THEN 'reversal'
            WHEN m.sign < 0 AND m.other = 'breakage' THEN 'expiry'
            WHEN m.sign > 0 THEN 'refill'
            ELSE 'reversal' END AS type,
       trim_scale(m.sign * m.amount * 0.000001) AS amount,
       m.posted_at AS created_at, m.ref AS reference, m.event_id, m.job_id, coalesce(m.why, m.kind) AS description
FROM (SELECT p.id, p.credit AS account, o.name AS other, 1 AS sign, p.kind, p.amount, p.posted_at, p.ref, p.event_id, p.job_id, p.reverses, p.why
      FROM bursar.posting p JOIN bursar.account o ON o.id = p.debit
      UNION ALL
      SELECT p.id, p.debit, o.name, -1, p.kind, p.amount, p.posted_at, p.ref, p.event_id, p.job_id, p.reverses, p.why
      FROM bursar.posting p JOIN bursar.account o ON o.id = p.credit) m
JOIN bursar.account a ON a.id = m.account AND a.unit = 'credits' AND a.name LIKE 'user:%';
-- A query for one user finds its account, and by it the postings.
CREATE INDEX account_by_user ON bursar.account (substr(name, 6)) WHERE unit = 'credits' AND name LIKE 'user:%';
