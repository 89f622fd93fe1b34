//! What the processes say of themselves: each is started as a process of its own, scraped, and held against the database.

mod cost;
mod counted;
mod depth;
mod files;
mod promql;
mod scrape;
mod secrets;
mod sink;
mod traced;

use std::{fs::File, net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    sandbox::client::Client as Sandbox,
    support::{Child, Database, bursar, database, eventually, program::Scratch, scratch},
    web::client::{Client, Header, Reply, head, standard_signature, stripe_signature},
};

const SOON: Duration = Duration::from_secs(40);
const TOKEN: &str = "planted-api-token-7c1e";
const WEBHOOK_SECRET: &str = "whsec_planted5b2fHookSecret";
/// What the tests' sender signs with.
const VERIFICATION_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A database, a sandbox, and the three processes.
struct World {
    db: Database,
    stripe: Sandbox,
    folder: Scratch,
    _processes: Vec<Child>,
    web: SocketAddr,
    api: SocketAddr,
    /// Where web's and worker's numbers are.
    metrics: [SocketAddr; 2],
}

impl World {
    async fn start(own: &[(&str, &str)]) -> Self {
        let (db, stripe, folder) = (database().await, Sandbox::start().await, scratch());
        // Peers are trusted here, so that any password will do.
        let url = db.url.replacen("@localhost", ":plantedDatabasePassword@localhost", 1);
        assert_ne!(url, db.url, "the password is in it");
        let mut processes = Vec::new();
        for name in ["web", "worker", "api"] {
            let mut command = bursar(&[name]);
            command.current_dir(&*folder).stderr(File::create(folder.join(name)).unwrap());
            command.env("DATABASE_URL", &url).env("PORT", "0").env("API_PORT", "0").env("BURSAR_LOG__FORMAT", "json");
            command.env("BURSAR_METRICS__WEB_PORT", "0").env("BURSAR_METRICS__WORKER_PORT", "0");
            command.env("STRIPE_SECRET_KEY", &stripe.0.key).env("STRIPE_API_BASE", &stripe.0.url);
            command.env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET).env("VERIFICATION_SECRET", VERIFICATION_SECRET);
            command.env("API_TOKEN", TOKEN).envs(own.iter().copied());
            processes.push(Child::spawn(&mut command));
        }
        let said = |name: &'static str, line: &'static str, field: &'static str| {
            let path = folder.join(name);
            async move { address(path, line, field).await }
        };
        let web = said("web", "web listens", "address").await;
        let api = said("api", "api listens", "address").await;
        let metrics =
            [said("web", "metrics listens", "beside").await, said("worker", "metrics listens", "beside").await];
        Self { db, stripe, folder, _processes: processes, web, api, metrics }
    }

    async fn hear(&self, event: &Value) -> Reply {
        let body = event.to_string();
        let signed = stripe_signature(WEBHOOK_SECRET, &body);
        Client::connect(self.web).await.post("/api/stripe/webhook", &[signed], &body).await
    }

    async fn tell(&self, id: &str, event: &Value) -> Reply {
        let body = event.to_string();
        Client::connect(self.web).await.post("/api/verifications", &standard_signature(id, &body), &body).await
    }

    async fn verify(&self, job: &str, receiver: &str) -> Reply {
        self.tell(&format!("msg_{job}"), &verified(job, receiver)).await
    }

    /// A receiver whom Stripe would pay.
    async fn receiver(&self, user: &str) {
        let form = format!("type=express&capabilities[transfers][requested]=true&metadata[user_id]={user}");
        let account = self.stripe.post("/v1/accounts", &form).await.id();
        self.stripe
            .send("POST", &format!("/_sandbox/accounts/{account}"), r#"{"state": "active"}"#, &[])
            .await
            .unwrap();
        let event = json!({"id": format!("evt_{account}"), "object": "event", "type": "account.updated", "livemode": false,
                           "account": account, "data": {"object": {"id": account, "object": "account"}}});
        assert_eq!(self.hear(&event).await.status, 200);
        self.settled().await;
    }

    /// Waits until nothing is ready or runs.
    async fn settled(&self) {
        eventually(SOON, || async {
            let open: Vec<(String, String)> =
                sqlx::query_as("SELECT kind, state FROM bursar.job WHERE state IN ('ready', 'running') ORDER BY 1")
                    .fetch_all(&self.db.pool)
                    .await
                    .unwrap();
            if open.is_empty() { Ok(()) } else { Err(open) }
        })
        .await;
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db.pool).await.unwrap()
    }

    /// What a process shows. In turn: web, worker, api.
    async fn scrape(&self, nth: usize) -> scrape::Scrape {
        let reply = match self.metrics.get(nth) {
            Some(address) => ask(*address, &[]).await,
            None => ask(self.api, &[("authorization", format!("Bearer {TOKEN}"))]).await,
        };
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        scrape::Scrape::read(&reply.body)
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }
}

async fn ask(address: SocketAddr, headers: &[Header]) -> Reply {
    let mut client = Client::connect(address).await;
    client.send(&head("GET", "/metrics", headers, 0)).await;
    client.reply().await
}

/// Where a process says that it listens.
pub async fn address(log: PathBuf, line: &str, field: &str) -> SocketAddr {
    eventually(SOON, || async {
        let log = std::fs::read_to_string(&log).unwrap();
        let said = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let at = said.filter(|said| said["message"] == line).find_map(|said| said[field].as_str()?.parse().ok());
        at.ok_or(log)
    })
    .await
}

fn verified(job: &str, receiver: &str) -> Value {
    let at = bursar_jobs::base::clock::now().to_rfc3339();
    json!({"type": "job.verified", "timestamp": at,
           "data": {"job_id": job, "skill": "research", "receiver_id": receiver, "sender_id": "alice"}})
}

fn purchase(nth: usize) -> Value {
    let path = format!("{}/fixtures/checkout.session.completed.json", env!("CARGO_MANIFEST_DIR"));
    let mut event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    event["id"] = json!(format!("evt_{nth}"));
    event["data"]["object"]["id"] = json!(format!("cs_test_{nth}"));
    event
}
