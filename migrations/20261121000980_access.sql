-- Who may do what at the operators' desk. A token is shown once, when it is made; here is only its digest. A session is what a browser
-- gets for a token, and ends with it. Real time: these are people's clocks, and no sandbox moves them.
CREATE TABLE bursar.token (
    id           text PRIMARY KEY DEFAULT bursar.new_id(),
    name         text NOT NULL CONSTRAINT token_name_sane CHECK (name ~ '^[[:graph:]]{1,100}$'),
    role         text NOT NULL CONSTRAINT token_role_known CHECK (role IN ('viewer', 'operator', 'payer')),
    digest       bytea NOT NULL CONSTRAINT token_digest_once UNIQUE CONSTRAINT token_digest_is_sha256 CHECK (octet_length(digest) = 32),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE UNIQUE INDEX token_name_once ON bursar.token (name) WHERE revoked_at IS NULL;

CREATE TABLE bursar.session (
    digest     bytea PRIMARY KEY CONSTRAINT session_digest_is_sha256 CHECK (octet_length(digest) = 32),
    token_id   text NOT NULL REFERENCES bursar.token (id),
    csrf       text NOT NULL,                                  -- what each form of this session carries
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX session_by_token ON bursar.session (token_id);

-- What ended when, for charts: attempts are written in the order of their end, so a summary of each stretch of the table is enough.
CREATE INDEX attempt_ended ON bursar.attempt USING brin (ended_at) WITH (pages_per_range = 16);
