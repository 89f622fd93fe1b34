-- Letters: which were written, and what became of each. A row is kept for ever: it is what keeps a letter from being sent twice.
CREATE TABLE bursar.letter (
    key        text PRIMARY KEY,                     -- its job's
    job_id     text NOT NULL,
    letter     text NOT NULL,                        -- which template
    user_id    text,                                 -- whose; null: the team's
    message_id text NOT NULL,                        -- <...@...>: the same for every copy
    sender     text,                                 -- these three are forgotten once it is sent
    recipient  text,
    bytes      bytea,                                -- what every attempt sends, as long as a copy may be on its way
    -- open: may have left. unknown: left at least once, and the answer was lost. waiting: surely not taken yet.
    state      text NOT NULL DEFAULT 'open' CONSTRAINT letter_state_known
               CHECK (state IN ('open', 'unknown', 'waiting', 'refused', 'sent')),
    written_at timestamptz NOT NULL DEFAULT bursar.now(),
    changed_at timestamptz NOT NULL DEFAULT bursar.now(),
    CONSTRAINT letter_can_be_sent CHECK (state = 'sent' OR (sender IS NOT NULL AND recipient IS NOT NULL AND bytes IS NOT NULL))
);
CREATE INDEX letter_by_user ON bursar.letter (user_id) WHERE user_id IS NOT NULL;

-- The languages that a customer prefers, the dearest first, with commas: as Stripe has them.
ALTER TABLE bursar.customer ADD COLUMN locales text;

-- When the letter about a refund was asked for. Refunds that were made before there were letters need none.
ALTER TABLE bursar.refund ADD COLUMN letter_at timestamptz;
UPDATE bursar.refund SET letter_at = bursar.now() WHERE status = 'succeeded';
