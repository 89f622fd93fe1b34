-- Names are looked up where the caller says, and a neighbour who may create in `public` could offer a better match than PostgreSQL's own: an
-- operator for exactly these types, say. Whatever runs here runs with PostgreSQL's names and with those that say their schema.
DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOR ours IN
        SELECT p.oid::pg_catalog.regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace OPERATOR(pg_catalog.=) 'bursar'::pg_catalog.regnamespace::pg_catalog.oid ORDER BY p.oid
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', ours);
    END LOOP;
    -- apalis's own are called by nobody here, and say their schemas as well. Where they are another role's they are that role's to keep.
    FOR ours IN
        SELECT p.oid::pg_catalog.regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace OPERATOR(pg_catalog.=) 'apalis'::pg_catalog.regnamespace::pg_catalog.oid
          AND pg_catalog.pg_has_role(p.proowner, 'USAGE'::pg_catalog.text) ORDER BY p.oid
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', ours);
    END LOOP;
END $$;
