-- Turns: the one rate at which all processes of a deployment send requests to Stripe. A row of moments, in real time; unlogged, for it is
-- worth nothing after a crash and must cost no flush.
CREATE UNLOGGED TABLE bursar.turns (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    next_at    timestamptz NOT NULL,                 -- the first turn that nobody has
    bulk_at    timestamptz NOT NULL,                 -- before this, bulk work has had its share
    held_until timestamptz NOT NULL                  -- Stripe said that it was too much: before this, nobody sends
);

-- Takes up to `wanted` turns, `gap_us` microseconds apart: how many there are, and in how many microseconds the first is. None: ask again
-- in that long. Turns are booked ahead, and how far ahead is what a lane's rank consists of: where bulk work may book a quarter of a second
-- and payouts two, a payout waits behind a quarter of a second of bulk work at most, however much of it there is. Bulk work has half of all
-- turns at most.
CREATE FUNCTION bursar.take_turns(lane text, wanted integer, gap_us bigint, OUT granted integer, OUT in_us bigint)
LANGUAGE plpgsql AS $$
DECLARE
    gap     interval := gap_us * interval '1 microsecond';
    horizon interval := CASE lane WHEN 'money' THEN interval '2 s' WHEN 'people' THEN interval '1 s'
                                  WHEN 'ordinary' THEN interval '500 ms' WHEN 'bulk' THEN interval '250 ms' END;
    turns   bursar.turns;
    at      timestamptz;
    first   timestamptz;
    wait    interval;
BEGIN
    IF horizon IS NULL OR gap_us < 1 OR wanted < 1 THEN
        RAISE EXCEPTION 'no such turns: lane %, % of them, % microseconds apart', lane, wanted, gap_us USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO turns FROM bursar.turns FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO bursar.turns VALUES (true, 'epoch', 'epoch', 'epoch') ON CONFLICT DO NOTHING;
        SELECT * INTO turns FROM bursar.turns FOR UPDATE;
    END IF;
    at := clock_timestamp();                         -- after the wait for the row
    first := greatest(turns.next_at, at);
    -- A hold ends for all at once; whoever asks then is spread by the gap again.
    wait := greatest(turns.held_until - at, first - at - horizon, CASE WHEN lane = 'bulk' THEN turns.bulk_at - at END);
    IF wait > interval '0' THEN
        granted := 0;
        in_us := ceil(extract(epoch FROM wait) * 1000000);
        RETURN;
    END IF;
    granted := least(wanted, 1 + floor(extract(epoch FROM horizon - (first - at)) / extract(epoch FROM gap)))::integer;
    in_us := ceil(extract(epoch FROM first - at) * 1000000);
    UPDATE bursar.turns t SET next_at = first + granted * gap,
        bulk_at = CASE WHEN lane = 'bulk' THEN greatest(turns.bulk_at, at) + 2 * granted * gap ELSE turns.bulk_at END;
END $$;

-- Stripe said that it was too much: nobody sends for so long.
CREATE FUNCTION bursar.hold_turns(wait_ms bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bursar.turns AS t (next_at, bulk_at, held_until)
    VALUES ('epoch', 'epoch', clock_timestamp() + wait_ms * interval '1 millisecond')
    ON CONFLICT (one) DO UPDATE SET held_until = greatest(t.held_until, excluded.held_until)
$$;

-- Whether nobody may send now: for whoever booked a turn before that was said.
CREATE FUNCTION bursar.turns_are_held() RETURNS boolean LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM bursar.turns t WHERE t.one AND t.held_until > clock_timestamp())
$$;
