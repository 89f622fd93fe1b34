-- What a neighbour could do who may create in `public`: an operator for each pair of types for which PostgreSQL has none of exactly these, and
-- a function beside each of PostgreSQL's for arguments of exactly the types that a query may have. Whatever resolves to one of them raises.
SET search_path = pg_catalog, pg_temp;
DO $traps$
DECLARE
    types text[] := ARRAY['int2', 'int4', 'int8', 'numeric', 'float8', 'text', 'varchar', 'name', 'timestamptz', 'timestamp', 'date',
        'interval', 'jsonb', 'uuid', 'bytea', 'bool', 'oid', 'text[]', 'varchar[]', 'int4[]', 'int8[]', 'timestamptz[]', 'date[]'];
    truths text[] := ARRAY['=', '<>', '<', '>', '<=', '>=', '~', '!~', '~*', '!~*', '~~', '!~~', '~~*', '!~~*', '@>', '<@', '&&', '?', '?|', '?&'];
    others text[] := ARRAY['+', '-', '*', '/', '%', '||', '->', '->>', '#>', '#>>', '^', '&', '|'];
    l text; r text; o text;
BEGIN
    FOREACH l IN ARRAY types LOOP
        FOREACH r IN ARRAY types LOOP
            EXECUTE format('CREATE FUNCTION public.trap(a %s, b %s) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION ''trap: an operator of public''; END $$', l, r);
            EXECUTE format('CREATE FUNCTION public.trap_value(a %s, b %s) RETURNS %s LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION ''trap: an operator of public''; END $$', l, r, l);
            FOREACH o IN ARRAY truths || others LOOP
                IF NOT EXISTS (SELECT FROM pg_operator p WHERE p.oprname = o AND p.oprleft = l::regtype AND p.oprright = r::regtype
                               AND p.oprnamespace = 'pg_catalog'::regnamespace) THEN
                    EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.%s)', o, l, r,
                                   CASE WHEN o = ANY (truths) THEN 'trap' ELSE 'trap_value' END);
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
END $traps$;
DO $traps$
DECLARE
    types text[] := ARRAY['int2', 'int4', 'int8', 'numeric', 'float8', 'text', 'varchar', 'name', 'timestamptz', 'timestamp', 'date', 'interval',
        'jsonb', 'json', 'uuid', 'bytea', 'bool', 'text[]', 'int4[]', 'int8[]', 'timestamptz[]', 'date[]', 'uuid[]', 'bool[]'];
    few text[] := ARRAY['text', 'int4', 'int8', 'jsonb', 'timestamptz'];
    -- Those that the statements of bursar use, and their like.
    names name[] := ARRAY['abs', 'age', 'array_agg', 'array_append', 'array_length', 'array_position', 'array_remove', 'bool_and', 'bool_or', 'btrim',
        'cardinality', 'ceil', 'chr', 'concat', 'concat_ws', 'convert_from', 'convert_to', 'count', 'current_setting', 'date_bin', 'date_part', 'date_trunc',
        'encode', 'extract', 'floor', 'format', 'generate_series', 'has_function_privilege', 'has_schema_privilege', 'has_table_privilege',
        'hashtextextended', 'int8send', 'jsonb_agg', 'jsonb_array_elements', 'jsonb_array_elements_text', 'jsonb_array_length', 'jsonb_build_array',
        'jsonb_build_object', 'jsonb_object_agg', 'jsonb_to_recordset', 'jsonb_typeof', 'left', 'length', 'lower', 'max', 'min', 'mod', 'now', 'octet_length',
        'overlay', 'pg_advisory_xact_lock', 'pg_advisory_xact_lock_shared', 'pg_notify', 'position', 'regexp_replace', 'replace', 'right', 'round',
        'row_number', 'rtrim', 'set_bit', 'setval', 'sha256', 'split_part', 'starts_with', 'string_agg', 'substr', 'substring', 'sum', 'timezone',
        'to_char', 'to_json', 'to_jsonb', 'to_timestamp', 'trim_scale', 'trunc', 'unnest', 'upper', 'uuid_send', 'width_bucket'];
    f record;
    args text[];
    a text; b text; c text; n integer;
    wanted text[];
BEGIN
    FOR f IN SELECT p.proname, p.pronargs, p.provariadic <> 0 AS is_variadic, p.prorettype::regtype::text AS result, p.proretset,
                    ARRAY(SELECT format_type(x.a, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS x (a, n) ORDER BY x.n) AS args
             FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (names)
    LOOP
        wanted := '{}';
        IF f.is_variadic THEN
            FOREACH a IN ARRAY few LOOP
                wanted := wanted || a;
                FOREACH b IN ARRAY few LOOP
                    wanted := wanted || (a || ',' || b);
                    FOREACH c IN ARRAY few LOOP wanted := wanted || (a || ',' || b || ',' || c); END LOOP;
                END LOOP;
            END LOOP;
        ELSIF f.pronargs = 1 THEN
            wanted := types;
        ELSIF f.pronargs = 2 THEN
            FOREACH a IN ARRAY few LOOP
                FOREACH b IN ARRAY types LOOP wanted := wanted || (a || ',' || b) || (b || ',' || a); END LOOP;
            END LOOP;
            FOREACH a IN ARRAY types LOOP wanted := wanted || (a || ',' || f.args[2]) || (f.args[1] || ',' || a); END LOOP;
        ELSE
            FOR n IN 1 .. f.pronargs LOOP
                FOREACH a IN ARRAY types LOOP
                    args := f.args;
                    args[n] := a;
                    wanted := wanted || array_to_string(args, ',');
                END LOOP;
            END LOOP;
        END IF;
        FOREACH a IN ARRAY wanted LOOP
            BEGIN
                CONTINUE WHEN to_regprocedure(format('pg_catalog.%I(%s)', f.proname, a)) IS NOT NULL
                           OR to_regprocedure(format('public.%I(%s)', f.proname, a)) IS NOT NULL;
                b := CASE WHEN f.result IN ('anyelement', 'anycompatible') THEN replace(split_part(a, ',', 1), '[]', '')
                          WHEN f.result IN ('anyarray', 'anycompatiblearray') THEN replace(split_part(a, ',', 1), '[]', '') || '[]'
                          ELSE f.result END;
                EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION ''trap: a function of public''; END $$',
                               f.proname, a, CASE WHEN f.proretset THEN 'SETOF' ELSE '' END, b);
            EXCEPTION WHEN undefined_object OR invalid_function_definition OR syntax_error OR feature_not_supported OR datatype_mismatch THEN
                NULL;   -- no such type, or none that a function may have
            END;
        END LOOP;
    END LOOP;
END $traps$;
RESET search_path;
