//! A PostgreSQL that may be killed: nobody else's, with a template from which each world gets a database.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bursar::dev::postgres::{Postgres, PostgresError, StartOptions};
use nix::{
    sys::{
        signal::{Signal, kill},
        statvfs::statvfs,
    },
    unistd::Pid,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::Mutex;

use crate::support::{
    eventually,
    program::{Scratch, scratch_in},
};

/// A kill here is the end of a process and not of the machine: what was written stands without a disk, and recovery need not wait for one.
const MEMORY: &str = "/dev/shm";
/// What a server and its worlds may come to, in bytes.
const ROOM: u64 = 2 << 30;

/// What a world begins with: moved time, as in a sandbox; and a worker whose lease holds cannot be taken off the list, so that one that
/// is killed here leaves behind what `kill -9` leaves, and its lease has to run out.
const BEGIN: &str = "
    INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'sandbox');
    INSERT INTO bursar.clock (ahead) VALUES (interval '0');
    CREATE FUNCTION public.say_no_goodbye() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER killed BEFORE DELETE ON apalis.workers FOR EACH ROW WHEN (OLD.lease_until > clock_timestamp())
        EXECUTE FUNCTION public.say_no_goodbye()";

pub struct Server {
    running: Mutex<Option<Postgres>>,
    kills: AtomicU32,
    databases: AtomicU32,
    url: String,
    // Last, so that it goes after the server.
    folder: Scratch,
}

async fn run(folder: &Scratch) -> Postgres {
    eventually(Duration::from_secs(30), || async {
        let options = StartOptions { folder, fresh: false, temporary: false, progress: &|_| {} };
        match Postgres::start(&options).await {
            // Between its fork and its exec, a process that another test starts holds a copy of every lock of ours.
            Err(PostgresError::Busy(folder)) => Err(folder),
            started => Ok(started.expect("a PostgreSQL of its own")),
        }
    })
    .await
}

fn fits(folder: &str) -> bool {
    statvfs(folder).is_ok_and(|there| there.blocks_available() * there.fragment_size() >= ROOM)
}

impl Server {
    pub async fn start() -> Self {
        let folder = scratch_in(if fits(MEMORY) { MEMORY } else { "/tmp" });
        let running = run(&folder).await;
        let url = running.url("DATABASE");
        let server = Self {
            running: Mutex::new(Some(running)),
            kills: AtomicU32::new(0),
            databases: AtomicU32::new(0),
            url,
            folder,
        };
        server.admin("CREATE DATABASE template").await;
        let pool = PgPool::connect(&server.url("template")).await.expect("the template answers");
        bursar::migrate::migrate(&pool).await.expect("the migrations apply to an empty database");
        pool.execute(BEGIN).await.expect("nothing has happened yet");
        pool.close().await;
        server
    }

    fn url(&self, database: &str) -> String {
        self.url.replace("DATABASE", database)
    }

    async fn admin(&self, statement: &str) {
        let mut admin = PgConnection::connect(&self.url("postgres")).await.expect("the server answers");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await.expect("it is nobody else's");
        admin.close().await.expect("closing is polite");
    }

    /// A database as a world begins with it: its name and its URL.
    pub async fn database(&self) -> (String, String) {
        let name = format!("world_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE template")).await;
        let url = self.url(&name);
        (name, url)
    }

    pub async fn forget(&self, database: &str) {
        self.admin(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }

    /// Kills it, by turns as a crash of one of its processes does and as the kernel does when memory is short. It is gone on return.
    pub async fn kill(&self) {
        let server = self.running.lock().await.take().expect("it runs");
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("it wrote its pid");
        let pid = Pid::from_raw(file.lines().next().unwrap().trim().parse().unwrap());
        let crash = self.kills.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        kill(pid, if crash { Signal::SIGQUIT } else { Signal::SIGKILL }).expect("it is there to be killed");
        server.stop().await.expect("it is gone");
    }

    /// Starts it again over what the kill left.
    pub async fn restart(&self) {
        let server = run(&self.folder).await;
        assert_eq!(server.url("DATABASE"), self.url, "it is found where it was");
        *self.running.lock().await = Some(server);
        let log = std::fs::read_to_string(self.folder.join("log")).expect("it keeps a log");
        assert!(log.contains("automatic recovery in progress"), "it was killed, not stopped: {log}");
    }
}
