//! What is to be seen of a world: the case, its steps and letters, and what the sandbox says.

use std::process::Output;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::world::{DAY, World};
use crate::support;

impl World {
    /// State and reason of the one case.
    pub async fn case(&self) -> (String, String) {
        sqlx::query_as("SELECT state, coalesce(reason, '') FROM bursar.dunning_case")
            .fetch_one(&self.db.pool)
            .await
            .unwrap()
    }

    pub async fn cases(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM bursar.dunning_case").fetch_one(&self.db.pool).await.unwrap()
    }

    /// State and outcome of a step.
    pub async fn step(&self, step: &str) -> (String, String) {
        sqlx::query_as("SELECT state, coalesce(outcome, '') FROM bursar.dunning_step WHERE step = $1")
            .bind(step)
            .fetch_one(&self.db.pool)
            .await
            .unwrap()
    }

    pub async fn steps(&self) -> Vec<(String, String, String)> {
        sqlx::query_as("SELECT step, state, coalesce(outcome, '') FROM bursar.dunning_step ORDER BY due_at, day, step")
            .fetch_all(&self.db.pool)
            .await
            .unwrap()
    }

    /// The letters of the case, with the day after the first failure.
    pub async fn letters(&self) -> Vec<(i64, String)> {
        sqlx::query_as(
            "SELECT round(extract(epoch FROM j.enqueued_at - c.failed_at) / 86400)::bigint, convert_from(j.args, 'UTF8')::jsonb ->> 'letter'
             FROM bursar.job j, bursar.dunning_case c
             WHERE j.kind = 'send_letter' AND j.key LIKE 'dunning:' || c.invoice_id || ':%' ORDER BY j.enqueued_at, j.id",
        )
        .fetch_all(&self.db.pool)
        .await
        .unwrap()
    }

    /// The fields of a letter.
    pub async fn fields(&self, letter: &str) -> Value {
        sqlx::query_scalar(
            "SELECT convert_from(args, 'UTF8')::jsonb -> 'fields' FROM bursar.job
             WHERE kind = 'send_letter' AND convert_from(args, 'UTF8')::jsonb ->> 'letter' = $1",
        )
        .bind(letter)
        .fetch_one(&self.db.pool)
        .await
        .unwrap()
    }

    /// The days after the first failure on which the card was tried, by the sandbox's own charges; the first failure is day 0.
    pub async fn tries(&self) -> Vec<i64> {
        let failed: DateTime<Utc> =
            sqlx::query_scalar("SELECT failed_at FROM bursar.dunning_case").fetch_one(&self.db.pool).await.unwrap();
        let charges = self.stripe.get(&format!("/v1/charges?customer={}&limit=100", self.customer)).await.body;
        let since = charges["data"].as_array().unwrap().iter().rev().map(|charge| {
            let after = charge["created"].as_i64().unwrap() - failed.timestamp();
            (after + DAY / 2).div_euclid(DAY)
        });
        since.filter(|day| *day >= 0).collect()
    }

    /// The payments that we asked for, each key once.
    pub async fn asked(&self) -> Vec<String> {
        let all = self.stripe.get("/_sandbox/requests").await.body;
        let ours = all["requests"].as_array().unwrap().iter().filter(|request| {
            request["path"].as_str().is_some_and(|path| path.ends_with("/pay"))
                && request["idempotency_key"].is_string()
        });
        let mut keys: Vec<String> =
            ours.map(|request| request["idempotency_key"].as_str().unwrap().to_owned()).collect();
        keys.dedup();
        keys
    }

    pub async fn at_stripe(&self, path: &str) -> Value {
        self.stripe.get(path).await.body
    }

    pub async fn subscription(&self) -> Value {
        self.at_stripe(&format!("/v1/subscriptions/{}", self.subscription)).await
    }

    /// Paid by hand at Stripe, as on the invoice's page.
    pub async fn pay(&self, invoice: &str) {
        let paid = self.stripe.post(&format!("/v1/invoices/{invoice}/pay"), "").await;
        assert_eq!(paid.body["status"], "paid", "{}", paid.text);
    }

    pub async fn balance(&self) -> String {
        bursar_jobs::ledger::balance(&self.db.pool, "alice").await.unwrap().to_string()
    }

    /// State and reason of the jobs of a kind, oldest first.
    pub async fn jobs(&self, kind: &str) -> Vec<(String, String)> {
        sqlx::query_as("SELECT state, coalesce(reason, '') FROM bursar.job WHERE kind = $1 ORDER BY id")
            .bind(kind)
            .fetch_all(&self.db.pool)
            .await
            .unwrap()
    }

    pub async fn has_access(&self) -> bool {
        let user = bursar_jobs::subscriptions::subscription::of_user(&self.db.pool, "alice").await.unwrap();
        user.is_some_and(|subscription| subscription.has_access)
    }

    /// Nothing is dead, and the books are right.
    pub async fn is_clean(&self) {
        let dead: Vec<(String, String)> =
            sqlx::query_as("SELECT kind, coalesce(reason, '') FROM bursar.job WHERE state = 'dead'")
                .fetch_all(&self.db.pool)
                .await
                .unwrap();
        assert!(dead.is_empty(), "{dead:?}");
        let verified = self.bursar(&["ledger", "verify", "--json"]);
        assert!(verified.status.success(), "{verified:?}");
    }

    /// Runs the operator's command on this database.
    pub fn bursar(&self, args: &[&str]) -> Output {
        support::bursar(args).env("DATABASE_URL", &self.db.url).output().unwrap()
    }
}
