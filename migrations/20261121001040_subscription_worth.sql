-- What a subscription is worth a year at its price, each time that it changed: what recurring revenue, and who was won and lost, is counted
-- from. Kept for ever, for the bodies of events are not. The previous version runs beside this: it writes none, and the next answer of
-- Stripe's makes up for it. A subscription that was there before gets its first row then, from when it began.
CREATE TABLE bursar.subscription_worth (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id text NOT NULL,                       -- sub_...
    user_id         text NOT NULL,
    at              timestamptz NOT NULL,                -- from when on, in business time
    -- Minor units a year, before discounts and tax; 0: it is not charged (over, paused, unpaid); null: its price has no plain amount.
    yearly          bigint CONSTRAINT subscription_worth_sane CHECK (yearly >= 0),
    currency        text,
    asked_at        timestamptz NOT NULL,                -- when Stripe was asked
    CONSTRAINT subscription_worth_once UNIQUE (subscription_id, asked_at)
);
CREATE INDEX subscription_worth_by_time ON bursar.subscription_worth (subscription_id, at, id);
