//! The database: what it is, whether it keeps what it says it keeps, and whether it is this deployment's.

use std::{str::FromStr, time::Duration};

use bursar_jobs::{base::clock, selling::packages::Packages, terms::Package};
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::oneshot::Sender;

use crate::{
    boot::Mode,
    config::{Provider, Settings},
    migrate,
};

use super::{
    check::Check,
    money, neighbours, queue,
    stripe::{CLOCK_FAIL, CLOCK_WARN},
};

/// For one connection, and for one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// The oldest that is tested.
const OLDEST: i32 = 140_000;
/// Transactions before PostgreSQL stops writing are some two thousand million.
const AGE_WARN: i32 = 500_000_000;
const AGE_FAIL: i32 = 1_500_000_000;
/// web, api and worker.
const PROCESSES: i64 = 3;
/// PgBouncer's usual port.
const POOLER: u16 = 6432;

/// `tell` is told the packages on sale.
pub(super) async fn look(settings: &Settings, tell: Sender<Vec<Package>>) -> Vec<Check> {
    const NAME: &str = "database";
    let url = match settings.database_url() {
        Ok(url) => url.expose(),
        Err(error) => return vec![Check::setting(NAME, &error)],
    };
    let options = match PgConnectOptions::from_str(url) {
        Ok(options) => options.application_name("bursar doctor"),
        Err(_) => {
            return vec![Check::fail(NAME, "DATABASE_URL cannot be read", "Write postgres://user:password@host/name.")];
        }
    };
    let began = clock::now();
    // A connection by itself first: a pool would try again and again, and then not say why.
    let asked = async {
        let mut db = PgConnection::connect_with(&options).await?;
        let facts = facts(&mut db).await?;
        db.close().await?;
        Ok::<_, sqlx::Error>(facts)
    };
    let facts = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(facts)) => facts,
        Ok(Err(error)) => {
            let remedy = "Check the host, the user, the password and the name in DATABASE_URL, and whether PostgreSQL runs there.";
            return vec![Check::fail(NAME, error.to_string(), remedy)];
        }
        Err(_) => {
            let seen = format!("no answer within {} s", PATIENCE.as_secs());
            let remedy = "Check the host in DATABASE_URL, and whether a firewall keeps this machine from it.";
            return vec![Check::fail(NAME, seen, remedy)];
        }
    };
    let ended = clock::now();
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_lazy_with(options);
    let mut checks = vec![version(&facts)];
    checks.push(skew(&facts, began, ended));
    let current = match migrate::is_current(&pool).await {
        Ok(true) => Check::ok("database.migrations", "this version's schema"),
        Ok(false) => Check::fail(
            "database.migrations",
            "not at this version's schema",
            "Run `bursar migrate`, before any process starts.",
        ),
        Err(error) => Check::fail("database.migrations", error.to_string(), "Let this role read the schema bursar."),
    };
    let is_current = current.remedy.is_none();
    checks.push(current);
    let kept = if is_current { kept_mode(&pool).await } else { None };
    let sandbox = kept.as_deref() == Some(Mode::Sandbox.word());
    checks.push(durability(&facts, sandbox));
    checks.push(writable(&facts));
    checks.push(isolation(&facts));
    checks.push(role(&pool, &facts).await);
    checks.push(neighbours::look(&pool).await);
    checks.push(extensions(&facts));
    checks.push(connections(settings, &facts));
    checks.push(pooler(settings));
    checks.push(age(&facts));
    checks.push(Check::ok(
        "database.time_zone",
        format!("{}; any will do, for every moment is kept with its zone", facts.zone),
    ));
    if is_current {
        // Whoever asked may be gone: Stripe is off.
        drop(on_sale(&pool, settings).await.map(|packages| tell.send(packages)));
        checks.push(mode(settings, kept.as_deref()));
        checks.extend(queue::look(&pool, settings).await);
        checks.extend(money::look(&pool, settings).await);
    } else {
        for name in ["database.mode", "queue", "schedules"].into_iter().chain(money::NAMES) {
            checks.push(Check::skip(name, "the schema is not this version's"));
        }
    }
    checks
}

/// What the server says of itself and of us.
struct Facts {
    version: String,
    number: i32,
    fsync: String,
    synchronous: String,
    full_pages: String,
    isolation: String,
    read_only: String,
    recovering: bool,
    zone: String,
    most: i32,
    reserved: i32,
    used: i64,
    superuser: bool,
    of_role: i32,
    of_database: i32,
    bytes: i64,
    age: i32,
    now: f64,
    lacking: Vec<String>,
}

async fn facts(db: &mut PgConnection) -> Result<Facts, sqlx::Error> {
    sqlx::query_as!(
        Facts,
        r#"SELECT current_setting('server_version') AS "version!", current_setting('server_version_num')::int AS "number!",
                  current_setting('fsync') AS "fsync!", current_setting('synchronous_commit') AS "synchronous!",
                  current_setting('full_page_writes') AS "full_pages!", current_setting('default_transaction_isolation') AS "isolation!",
                  current_setting('default_transaction_read_only') AS "read_only!", pg_is_in_recovery() AS "recovering!",
                  current_setting('TimeZone') AS "zone!", current_setting('max_connections')::int AS "most!",
                  current_setting('superuser_reserved_connections')::int AS "reserved!",
                  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS "used!",
                  r.rolsuper AS "superuser!", r.rolconnlimit AS "of_role!", d.datconnlimit AS "of_database!",
                  pg_database_size(d.oid) AS "bytes!", (SELECT max(age(datfrozenxid)) FROM pg_database) AS "age!",
                  extract(epoch FROM clock_timestamp())::float8 AS "now!",
                  ARRAY(SELECT w FROM pg_catalog.unnest(ARRAY['hstore', 'pgcrypto']) w WHERE NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = w)) AS "lacking!"
           FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()"#
    )
    .fetch_one(db)
    .await
}

fn version(facts: &Facts) -> Check {
    let mebibytes = facts.bytes / (1024 * 1024);
    let seen = format!("PostgreSQL {}, {mebibytes} MiB", facts.version);
    if facts.number < OLDEST {
        return Check::fail("database", seen, "Move to PostgreSQL 14 or newer: what is older is not supported.");
    }
    Check::ok("database", seen)
}

/// Both ends are read around the question, so that its own time does not count.
fn skew(facts: &Facts, began: chrono::DateTime<chrono::Utc>, ended: chrono::DateTime<chrono::Utc>) -> Check {
    const NAME: &str = "database.clock";
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^52")]
    let seconds = |at: chrono::DateTime<chrono::Utc>| at.timestamp_millis() as f64 / 1000.0;
    let (before, after) = (facts.now - seconds(began), facts.now - seconds(ended));
    // Between the two it was right.
    let off = if before < 0.0 { before } else { after.max(0.0) };
    let seen = format!("{:.0} s away from this machine's", off.abs());
    let remedy =
        "Let both machines keep their time by NTP: leases go by the database's clock, signatures by this one's.";
    match off.abs() {
        off if off > CLOCK_FAIL => Check::fail(NAME, seen, remedy),
        off if off > CLOCK_WARN => Check::warn(NAME, seen, remedy),
        _ => Check::ok(NAME, "as this machine's"),
    }
}

/// A crash of the machine must not lose what a 2xx was given for.
fn durability(facts: &Facts, sandbox: bool) -> Check {
    const NAME: &str = "database.durability";
    let seen = format!(
        "fsync {}, synchronous_commit {}, full_page_writes {}",
        facts.fsync, facts.synchronous, facts.full_pages
    );
    let remedy = "Turn fsync, synchronous_commit and full_page_writes on: without them a crash loses events that were answered with 2xx.";
    let loses = facts.fsync == "off" || facts.synchronous == "off";
    match (loses, facts.full_pages == "off", sandbox) {
        (true, _, false) => Check::fail(NAME, seen, remedy),
        (true, _, true) | (false, true, _) => Check::warn(NAME, seen, remedy),
        (false, false, _) => Check::ok(NAME, seen),
    }
}

fn writable(facts: &Facts) -> Check {
    const NAME: &str = "database.writable";
    if facts.recovering || facts.read_only == "on" {
        let seen = if facts.recovering { "a standby, which takes no writes" } else { "read-only by default" };
        return Check::fail(NAME, seen, "Point DATABASE_URL at the primary, with default_transaction_read_only off.");
    }
    Check::ok(NAME, "the primary")
}

fn isolation(facts: &Facts) -> Check {
    const NAME: &str = "database.isolation";
    if facts.isolation == "read committed" {
        return Check::ok(NAME, facts.isolation.clone());
    }
    let remedy = "Set default_transaction_isolation to 'read committed' for this role: what is stricter only repeats transactions.";
    Check::warn(NAME, facts.isolation.clone(), remedy)
}

async fn role(pool: &PgPool, facts: &Facts) -> Check {
    const NAME: &str = "database.role";
    // What is only ever added to may be closed to more; retention empties what it is for. A function is free to all, unless it was closed.
    let closed = sqlx::query!(
        r#"SELECT w.need AS "need!", w.nth AS "nth!", pg_catalog.array_agg(t.name ORDER BY t.name) AS "tables!"
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_catalog.format('%s.%s', n.nspname, c.relname) AS t (name),
                pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS w (need, nth)
           WHERE n.nspname IN ('bursar', 'apalis') AND c.relkind = 'r' AND c.relname::text NOT LIKE '\_%'
             AND (w.need <> 'UPDATE' OR t.name NOT IN ('bursar.posting', 'bursar.audit'))
             AND (w.need <> 'DELETE' OR t.name IN ('apalis.jobs', 'apalis.workers', 'bursar.attempt'))
             AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, w.need))
           GROUP BY w.need, w.nth
           UNION ALL
           SELECT 'EXECUTE', 5, pg_catalog.array_agg(DISTINCT pg_catalog.format('%s.%s', n.nspname, p.proname))
           FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname = 'bursar' AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'))
           HAVING count(*) > 0
           ORDER BY 2"#
    )
    .fetch_all(pool)
    .await;
    match closed {
        Err(error) => Check::fail(NAME, error.to_string(), "Let this role read PostgreSQL's catalogue."),
        Ok(closed) if !closed.is_empty() => {
            let named = |tables: &[String]| match tables.len() {
                ..=5 => tables.join(", "),
                all => format!("{} and {} more", tables[..4].join(", "), all - 4),
            };
            let lacks: Vec<String> =
                closed.iter().map(|one| format!("{} on {}", one.need, named(&one.tables))).collect();
            Check::fail(
                NAME,
                format!("lacks {}", lacks.join("; ")),
                "Run bursar as the role that ran `bursar migrate`, or grant it the schemas bursar and apalis.",
            )
        }
        Ok(_) if facts.superuser => Check::warn(
            NAME,
            "a superuser",
            "Give bursar a role of its own that owns its database and nothing else: CREATE ROLE bursar LOGIN.",
        ),
        Ok(_) => Check::ok(NAME, "no superuser, and may do what is needed"),
    }
}

fn extensions(facts: &Facts) -> Check {
    const NAME: &str = "database.extensions";
    if facts.lacking.is_empty() {
        return Check::ok(NAME, "hstore, pgcrypto");
    }
    let seen = format!("{} is not there", facts.lacking.join(", "));
    Check::fail(
        NAME,
        seen,
        "Install PostgreSQL's contrib package on its server, and run `bursar migrate`, which makes them.",
    )
}

fn connections(settings: &Settings, facts: &Facts) -> Check {
    const NAME: &str = "database.connections";
    let pool = match settings.database_max_connections() {
        Ok(most) => i64::from(most),
        Err(error) => return Check::setting(NAME, &error),
    };
    // The worker listens on one more.
    let wanted = PROCESSES * pool + 1;
    let limits = [facts.most - facts.reserved, facts.of_role, facts.of_database];
    let room = limits.into_iter().filter(|limit| *limit >= 0).min().map_or(0, i64::from);
    let seen =
        format!("{room} allowed, {} in use; web, api and a worker of {pool} each take up to {wanted}", facts.used);
    let remedy = "Raise max_connections (or the role's limit), or lower BURSAR_DATABASE__MAX_CONNECTIONS.";
    if room <= pool {
        Check::fail(NAME, seen, remedy)
    } else if room < wanted {
        Check::warn(NAME, seen, remedy)
    } else {
        Check::ok(NAME, seen)
    }
}

fn pooler(settings: &Settings) -> Check {
    const NAME: &str = "database.pooler";
    let port = |url: &str| PgConnectOptions::from_str(url).map(|options| options.get_port()).unwrap_or_default();
    let (Ok(main), Ok(listen)) = (settings.database_url(), settings.listen_url()) else {
        let remedy = "Write BURSAR_DATABASE__LISTEN_URL as a PostgreSQL URL, or unset it.";
        return Check::fail(NAME, "the address to listen at is no PostgreSQL URL", remedy);
    };
    match (port(main.expose()), port(listen.expose())) {
        (_, POOLER) => Check::warn(
            NAME,
            format!(
                "port {POOLER} is PgBouncer's, and nobody hears a NOTIFY through it: idle workers look every few seconds instead"
            ),
            "Set BURSAR_DATABASE__LISTEN_URL to PostgreSQL itself, for one connection a worker.",
        ),
        (POOLER, _) => Check::ok(NAME, "through PgBouncer, and listening beside it"),
        _ => Check::ok(NAME, "none, as far as the port tells"),
    }
}

fn age(facts: &Facts) -> Check {
    const NAME: &str = "database.age";
    let seen = format!("{} million transactions since the oldest freeze", facts.age / 1_000_000);
    let remedy =
        "Run VACUUM (FREEZE), and look for what keeps autovacuum from it: an open transaction, a slot, a standby.";
    match facts.age {
        AGE_FAIL.. => Check::fail(NAME, seen, remedy),
        AGE_WARN.. => Check::warn(NAME, seen, remedy),
        _ => Check::ok(NAME, seen),
    }
}

/// The packages on sale, which operators may change in the database.
async fn on_sale(pool: &PgPool, settings: &Settings) -> Option<Vec<Package>> {
    let terms = settings.terms().ok()?;
    let mut db = pool.acquire().await.ok()?;
    let packages = Packages::load(&mut db, Some(&terms)).await.ok()?;
    Some(packages.on_sale().to_vec())
}

/// Which Stripe the database has worked with.
async fn kept_mode(pool: &PgPool) -> Option<String> {
    let kept = sqlx::query_scalar!("SELECT value FROM bursar.setting WHERE name = 'stripe'").fetch_optional(pool);
    kept.await.ok().flatten()
}

fn mode(settings: &Settings, kept: Option<&str>) -> Check {
    const NAME: &str = "database.mode";
    let Ok(stripe) = settings.stripe() else { return Check::skip(NAME, "the key cannot be read") };
    let Some(kept) = kept else {
        return Check::ok(NAME, "has worked with no Stripe yet; the first worker decides");
    };
    let said = Mode::kept(kept).map_or("a Stripe that this version does not know", Mode::said);
    if stripe.is_on() && Mode::of(&stripe).word() != kept {
        return Check::fail(
            NAME,
            format!("has worked with {said}, and the settings lead to {}", Mode::of(&stripe).said()),
            "Use the key of what it has worked with, or another database: a worker refuses to start so.",
        );
    }
    if !stripe.is_on() && stripe.provider == Provider::Stripe {
        return Check::warn(
            NAME,
            format!("has worked with {said}, and no key is set here"),
            "Set STRIPE_SECRET_KEY where the worker runs: without it a worker refuses to start.",
        );
    }
    Check::ok(NAME, format!("has worked with {said}"))
}
