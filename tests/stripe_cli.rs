//! The real Stripe CLI against `bursar dev`: what it triggers arrives through `stripe listen`, is taken, and is in the database.

mod program;

use std::{fs, path::Path, process::Output, time::Duration};

use bursar::sandbox;
use serde_json::Value;

use self::program::Cli;
use crate::{
    dev_run::Folder,
    support::{Child, eventually},
};

const SOON: Duration = Duration::from_secs(30);
/// The newest of the two ways to say what one listens to.
const VERSIONS: [&str; 2] = ["1.52.0", "1.50.11"];

/// What `stripe trigger` can make happen here.
const TRIGGERS: &[&str] = &[
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.expired",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "customer.created",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "charge.refunded",
    "charge.dispute.created",
    "account.updated",
    "transfer.created",
    "transfer.reversed",
];

#[tokio::test]
async fn what_it_triggers_arrives_through_listen() {
    let Some(stage) = Stage::set().await else { return };
    let all = TRIGGERS.join(",");
    let listeners: Vec<Listener> = stage.clis.iter().map(|cli| stage.listen(cli, &["--events", &all])).collect();
    for listener in &listeners {
        listener.is_ready().await;
    }
    let mut wrong = Vec::new();
    for cli in &stage.clis {
        for name in TRIGGERS {
            let before: Vec<usize> = listeners.iter().map(|listener| listener.said().len()).collect();
            let triggered = stage.run(cli, &["trigger", name]).await;
            if !triggered.status.success() {
                wrong.push(format!("{} {name}: {}", cli.version, words(&triggered)));
                continue;
            }
            for (listener, before) in listeners.iter().zip(before) {
                let event = listener.forwards(before, name, &stage.webhook).await;
                stage.is_stored(&event).await;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_printed_line_listens_and_events_are_sent_again() {
    let Some(stage) = Stage::set().await else { return };
    let printed = fs::read_to_string(stage.folder.join("out")).unwrap();
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("stripe listen ")).unwrap();
    for cli in &stage.clis {
        let args: Vec<&str> = ["listen"].into_iter().chain(line.split(' ')).collect();
        let listener = stage.listen_with(cli, &args);
        listener.is_ready().await;
        let made = stage.run(cli, &["trigger", "customer.created"]).await;
        assert!(made.status.success(), "{}", words(&made));
        let event = listener.forwards(0, "customer.created", &stage.webhook).await;
        let before = listener.said().len();
        let again = stage.run(cli, &["events", "resend", &event]).await;
        assert!(again.status.success(), "{}", words(&again));
        assert_eq!(listener.forwards(before, "customer.created", &stage.webhook).await, event);
        stage.is_stored(&event).await;
    }
}

#[tokio::test]
async fn fixtures_overrides_and_plain_commands_reach_the_sandbox() {
    let Some(stage) = Stage::set().await else { return };
    let fixture = r#"{"_meta":{"template_version":0},"fixtures":[
        {"name":"buyer","path":"/v1/customers","method":"post","params":{"email":"fixture@example.com"}},
        {"name":"renamed","path":"/v1/customers/${buyer:id}","method":"post","params":{"name":"Renamed"}}]}"#;
    fs::write(stage.folder.join("fixture.json"), fixture).unwrap();
    let account = {
        let made = stage.run(&stage.clis[0], &["accounts", "create", "--type=express"]).await;
        json(&made)["id"].as_str().unwrap().to_owned()
    };
    for cli in &stage.clis {
        let listener = stage.listen(cli, &["--events", "customer.updated", "--latest", "--format", "JSON"]);
        listener.is_ready().await;
        let ran = stage.run(cli, &["fixtures", "fixture.json"]).await;
        assert!(ran.status.success(), "{}", words(&ran));
        eventually(SOON, || async {
            let said = listener.said();
            let heard = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut heard = heard.filter(|event| event["type"] == "customer.updated");
            heard.find(|event| event["data"]["object"]["name"] == "Renamed").map(drop).ok_or(said.clone())
        })
        .await;

        let mut args = vec!["trigger", "customer.created", "--add", "customer:email=added@example.com"];
        args.extend(["--override", "customer:description=overridden"]);
        let made = stage.run(cli, &args).await;
        assert!(made.status.success(), "{}", words(&made));
        let newest = json(&stage.run(cli, &["get", "/v1/customers", "-d", "limit=1"]).await)["data"][0].clone();
        assert_eq!((&newest["email"], &newest["description"]), (&"added@example.com".into(), &"overridden".into()));

        let made = json(&stage.run(cli, &["customers", "create", "--email=plain@example.com"]).await);
        let id = made["id"].as_str().unwrap();
        let changed = json(&stage.run(cli, &["post", &format!("/v1/customers/{id}"), "-d", "name=Plain"]).await);
        assert_eq!(changed["name"], "Plain");
        assert_eq!(json(&stage.run(cli, &["transfers", "list"]).await)["object"], "list");
        let kept = json(&stage.run(cli, &["get", &format!("/v1/accounts/{account}")]).await);
        assert_eq!(kept["id"], account.as_str());
        let gone = stage.run(cli, &["get", "/v1/customers/cus_none"]).await;
        assert_eq!(json(&gone)["error"]["code"], "resource_missing");

        let secret = stage.run(cli, &["listen", "--print-secret", "--events", "invoice.paid"]).await;
        let said = String::from_utf8_lossy(&secret.stdout).trim().to_owned();
        assert_eq!(said, stage.folder.instance().unwrap().webhook_secret);
    }
}

/// A running `bursar dev`, and each version of the CLI.
struct Stage {
    clis: Vec<Cli>,
    folder: Folder,
    sandbox: String,
    webhook: String,
    _dev: Child,
}

/// A `stripe listen`.
struct Listener {
    said: std::path::PathBuf,
    _process: Child,
}

impl Stage {
    /// None where the CLI is not to be had.
    async fn set() -> Option<Self> {
        let folder = Folder::new();
        let mut clis = Vec::new();
        for version in VERSIONS {
            match Cli::install(version, &folder) {
                Ok(cli) => clis.push(cli),
                Err(why) => {
                    eprintln!("SKIPPED: the Stripe CLI {version} cannot be had, so nothing is shown of it here: {why}");
                    return None;
                }
            }
        }
        let dev = folder.start(&["dev"]).await;
        let instance = folder.instance().expect("it runs");
        let sandbox = instance.sandbox.clone().expect("it has a sandbox");
        let webhook = format!("{}{}", instance.url, instance.webhook_path);
        Some(Self { clis, folder, sandbox, webhook, _dev: dev })
    }

    fn to(&self) -> [&str; 4] {
        ["--api-base", &self.sandbox, "--api-key", sandbox::KEY]
    }

    async fn run(&self, cli: &Cli, args: &[&str]) -> Output {
        cli.run(&[args, &self.to()].concat()).await
    }

    fn listen(&self, cli: &Cli, more: &[&str]) -> Listener {
        self.listen_with(cli, &[&["listen", "--forward-to", &self.webhook, "--skip-verify"], more, &self.to()].concat())
    }

    fn listen_with(&self, cli: &Cli, args: &[&str]) -> Listener {
        let said = self.folder.join(format!("listen-{}", cli.version));
        Listener { _process: cli.start(args, &said), said }
    }

    async fn is_stored(&self, event: &str) {
        let db = sqlx::PgPool::connect(&self.folder.instance().expect("it runs").database_url).await.unwrap();
        eventually(SOON, || async {
            let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM bursar.event WHERE id = $1").bind(event);
            let count = count.fetch_one(&db).await.unwrap();
            if count == 1 { Ok(()) } else { Err(count) }
        })
        .await;
        db.close().await;
    }
}

impl Listener {
    fn said(&self) -> String {
        read(&self.said)
    }

    async fn is_ready(&self) {
        eventually(SOON, || async { if self.said().contains("Ready!") { Ok(()) } else { Err(self.said()) } }).await;
    }

    /// An event of this type came after `from` and was taken: its id.
    async fn forwards(&self, from: usize, kind: &str, webhook: &str) -> String {
        eventually(SOON, || async {
            let said = self.said();
            let new = said.get(from..).unwrap_or_default();
            let mut ids = new.lines().filter_map(|line| {
                let (kind_of, id) = line.split_once("--> ")?.1.trim_start_matches("connect ").split_once(' ')?;
                (kind_of == kind).then(|| id.trim_matches(['[', ']']).to_owned())
            });
            let taken = |id: &String| new.contains(&format!("[200] POST {webhook} [{id}]"));
            ids.rfind(taken).ok_or_else(|| format!("{kind}: {said}"))
        })
        .await
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(output)))
}
