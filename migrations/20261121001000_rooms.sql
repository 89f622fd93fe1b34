-- What the rooms of the operators' desk ask for.

-- Events of one type, newest first; and how often each type came, without reading what they say.
CREATE INDEX event_by_type ON bursar.event (type, received_at, source);

-- What a sender bought.
CREATE INDEX payout_by_sender ON bursar.payout (sender_id) WHERE sender_id IS NOT NULL;

-- Users by the beginning of their id, in the order of its bytes, whatever the database's language.
CREATE INDEX account_by_beginning ON bursar.account (substr(name, 6) text_pattern_ops) WHERE unit = 'credits' AND name LIKE 'user:%';
CREATE INDEX customer_by_beginning ON bursar.customer (user_id text_pattern_ops);
CREATE INDEX receiver_by_beginning ON bursar.receiver (user_id text_pattern_ops);

-- Subscriptions, last changed first.
CREATE INDEX subscription_by_change ON bursar.subscription (changed_at, id);
