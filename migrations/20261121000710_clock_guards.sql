-- What a database has worked with was guarded only once its clock had moved: a live one could be passed for a sandbox's by a plain
-- UPDATE, DELETE or TRUNCATE of the row that says it, and a web without a key takes live events and says nothing of the kind.
CREATE OR REPLACE FUNCTION bursar.guard_setting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'what this database has worked with is not forgotten' USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF EXISTS (SELECT FROM bursar.clock) THEN
        RAISE EXCEPTION 'the business time of this database was moved: it is a sandbox''s for good'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF OLD.value <> 'sandbox' AND (TG_OP = 'DELETE' OR NEW.name <> 'stripe' OR NEW.value = 'sandbox') THEN
        RAISE EXCEPTION 'this database has worked with Stripe: it is no sandbox''s' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER kept BEFORE TRUNCATE ON bursar.setting FOR EACH STATEMENT EXECUTE FUNCTION bursar.guard_setting();

-- A clock that was moved is not taken away either, nor is one moved where Stripe's live events have come in.
CREATE FUNCTION bursar.guard_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' OR EXISTS (SELECT FROM bursar.event e WHERE e.livemode) THEN
        RAISE EXCEPTION 'business time does not go back, nor is it moved where live events came in'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON bursar.clock FOR EACH STATEMENT EXECUTE FUNCTION bursar.guard_moved();
CREATE TRIGGER unlived AFTER INSERT ON bursar.clock FOR EACH ROW EXECUTE FUNCTION bursar.guard_moved();
