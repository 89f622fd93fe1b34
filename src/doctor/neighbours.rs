//! Who else may create functions and operators where bursar's statements look for names.
//!
//! Bursar's own statements find PostgreSQL's and its own whatever a neighbour makes. This keeps an application's honest beside them, and
//! what an operator types.

use sqlx::PgPool;

use super::check::Check;

const NAME: &str = "database.search_path";

/// Looks.
pub(super) async fn look(pool: &PgPool) -> Check {
    match (open_functions(pool).await, makers(pool).await) {
        (Err(error), _) | (_, Err(error)) => {
            Check::fail(NAME, error.to_string(), "Let this role read PostgreSQL's catalogue.")
        }
        (Ok(open), _) if !open.is_empty() => Check::fail(
            NAME,
            format!(
                "{} sets no search_path: whoever may create in a schema of their caller's can act as bursar",
                open.join(", ")
            ),
            "Run `ALTER FUNCTION … SET search_path = pg_catalog, pg_temp` for each of them.",
        ),
        (Ok(_), Ok(makers)) if !makers.is_empty() => Check::warn(
            NAME,
            format!("may create what statements find by an unqualified name: {}", makers.join(", ")),
            "Run `REVOKE CREATE ON SCHEMA public FROM PUBLIC`; where bursar has a role of its own, `ALTER ROLE bursar SET search_path = pg_catalog, pg_temp` too.",
        ),
        (Ok(_), Ok(_)) => Check::ok(NAME, "nobody else may create where names are looked up"),
    }
}

/// Functions of ours that look names up where their caller does.
async fn open_functions(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT p.oid::regprocedure::text AS "name!" FROM pg_proc p
           WHERE p.pronamespace = to_regnamespace('bursar')::oid
             AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS c WHERE starts_with(c, 'search_path='))
           ORDER BY 1"#
    )
    .fetch_all(pool)
    .await
}

/// Who else may create in a schema on the search path. A superuser may do anything anyway.
async fn makers(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT CASE WHEN w.who = 0::oid THEN 'everybody' ELSE pg_get_userbyid(w.who)::text END || ' in ' || n.nspname::text AS "who!"
           FROM pg_namespace n, LATERAL (
               SELECT a.grantee FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE a.privilege_type = 'CREATE'
               UNION SELECT n.nspowner) AS w (who)
           WHERE n.nspname = ANY (current_schemas(false)) AND n.nspname <> 'pg_catalog'
             AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = w.who AND (r.rolsuper OR r.rolname = current_user))
             -- The owner of the database, whoever that is.
             AND NOT (pg_get_userbyid(w.who) = 'pg_database_owner' AND EXISTS (
                 SELECT FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
                 WHERE d.datname = current_database() AND (r.rolsuper OR r.rolname = current_user)))
           ORDER BY 1"#
    )
    .fetch_all(pool)
    .await
}
