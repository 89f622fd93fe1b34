-- Receivers' accounts: how they came to be, what is wanted of them, and the links by which their owners are onboarded.

ALTER TABLE bursar.receiver
    -- Stripe's words for what is wanted of the owner: {"currently_due": […], "past_due": […], "disabled_reason": …}
    ADD COLUMN requirements     jsonb,
    ADD COLUMN payouts_enabled  boolean NOT NULL DEFAULT false,     -- Stripe pays out to the owner's bank
    ADD COLUMN first_asked_at   timestamptz,                        -- when an account was first asked for here: what a look goes back to
    ADD COLUMN deauthorised_at  timestamptz,                        -- when the platform's access was last found to be gone
    ADD COLUMN deauthorisations integer NOT NULL DEFAULT 0,         -- how often it was: each may be followed by an account of its own
    ADD COLUMN former           text[] NOT NULL DEFAULT '{}';       -- accounts that were replaced: they are nobody else's
CREATE INDEX receiver_former ON bursar.receiver USING gin (former) WHERE former <> '{}';

-- One request to be onboarded: the link that it came to, which lives for minutes and is used once.
CREATE TABLE bursar.onboarding (
    id           text PRIMARY KEY DEFAULT bursar.new_id(),
    user_id      text NOT NULL,
    key          text NOT NULL,                         -- the caller's Idempotency-Key, else one made for it
    return_url   text NOT NULL,
    refresh_url  text NOT NULL,
    round        integer NOT NULL DEFAULT 0,            -- how often it was made anew, because its link had expired
    state        text NOT NULL DEFAULT 'asked' CONSTRAINT onboarding_state_known CHECK (state IN ('asked', 'open', 'refused')),
    account_id   text,
    url          text,
    expires_at   timestamptz,
    reason       text,                                  -- why it is refused
    requested_at timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at   timestamptz NOT NULL DEFAULT bursar.now(),
    CONSTRAINT onboarding_once UNIQUE (user_id, key)
);
CREATE INDEX onboarding_of_user ON bursar.onboarding (user_id, requested_at);
CREATE INDEX onboarding_asked ON bursar.onboarding (user_id) WHERE state = 'asked';

-- Why nothing is sent to a receiver, in one sentence for people; null where the account is active, or the receiver is not known.
CREATE FUNCTION bursar.why_held(receiver text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN r.active THEN NULL
        WHEN r.account_id IS NULL THEN r.user_id || ' has no connected account: POST /api/stripe/connect makes one'
        WHEN r.state = 'deauthorised' THEN
            r.user_id || ' took away our access to ' || r.account_id || ': they must connect again'
        WHEN r.state = 'restricted' THEN
            'Stripe restricts ' || r.account_id || ' (' || coalesce(r.requirements ->> 'disabled_reason', 'no reason given') || ')'
            || coalesce(', and wants: ' || w.fields, '')
        WHEN r.state = 'pending' THEN 'Stripe is looking at ' || r.account_id || ' (' || r.user_id || ')'
        WHEN w.fields IS NOT NULL THEN
            r.user_id || ' has not finished the onboarding of ' || r.account_id || ': Stripe wants ' || w.fields
        ELSE 'transfers to ' || r.account_id || ' are not active (' || r.state || ')'
    END
    FROM bursar.receiver r
    LEFT JOIN LATERAL (
        SELECT string_agg(DISTINCT f.field, ', ' ORDER BY f.field) AS fields
        FROM jsonb_array_elements_text(coalesce(r.requirements -> 'currently_due', '[]') || coalesce(r.requirements -> 'past_due', '[]')) AS f (field)
    ) w ON true
    WHERE r.user_id = why_held.receiver
$$;
