//! `/api/credits`: what a user has, where it came from, and spending it; and what an administrator moves.

use bursar_jobs::{
    base::{audit::Via, credits::Credits, db},
    desk::{
        Operator,
        adjust_credits::{self, Move, Way},
    },
    ledger::{self, Posted, Spent, history},
    usage::meters,
};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH},
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Api,
    input::{self, unprocessable},
    routes::{Who, failed},
};
use crate::http::reply::{Problem, Reply, json};

/// Lines of a history in one answer, at most.
const PAGE: i64 = 100;

/// `GET /api/credits/{user_id}`: without a lock, and good for a few seconds.
pub(super) async fn balance(api: &Api, user: &str, headers: &HeaderMap) -> Result<Reply, Problem> {
    input::user(user)?;
    let balance = ledger::balance(&api.pool, user).await.map_err(|error| failed(&error))?;
    Ok(cacheable(headers, &json!({ "user_id": user, "balance": balance })))
}

/// An answer that may be kept for a moment, and asked for again by what it was.
pub(super) fn cacheable(headers: &HeaderMap, body: &Value) -> Reply {
    let text = body.to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let tag = digest.as_ref()[..12].iter().fold(0_u128, |tag, byte| tag << 8 | u128::from(*byte));
    let tag = format!("\"{tag:024x}\"");
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|value| value.split(','))
        .any(|value| value.trim() == "*" || value.trim().trim_start_matches("W/") == tag);
    let mut reply = if is_known { json(StatusCode::NOT_MODIFIED, "") } else { json(StatusCode::OK, text) };
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=2"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

/// `GET /api/credits/{user_id}/history?limit=&before=`: newest first; `next` is the `before` of the page behind.
pub(super) async fn history(api: &Api, user: &str, query: Option<&str>) -> Result<Reply, Problem> {
    input::user(user)?;
    let (mut limit, mut before) = (50, None);
    for (name, value) in input::query(query, &["limit", "before"])? {
        let number = value.parse::<i64>().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| Problem::bad_request(format!("`{name}` is a whole number from 1.")))?;
        if name == "limit" { limit = number.min(PAGE) } else { before = Some(number) }
    }
    let mut lines = history::of(&api.pool, user, before, limit + 1).await.map_err(|error| failed(&error))?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = lines.len() > shown;
    lines.truncate(shown);
    let next = lines.last().filter(|_| more).map(|line| line.posting);
    Ok(json(StatusCode::OK, json!({ "user_id": user, "postings": lines, "next": next }).to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spend {
    user_id: String,
    skill: Option<String>,
    credits: Option<Credits>,
    key: Option<String>,
    r#ref: Option<String>,
}

/// `POST /api/credits/spend`: 402 where the balance does not cover it, once for the user and the key.
pub(super) async fn spend(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    let who = Who::of(&request).0;
    let (asked, header) = input::read::<Spend>(api, request).await?;
    input::user(&asked.user_id)?;
    let key = input::one_key(asked.key, header)?
        .ok_or_else(|| unprocessable("Send a `key` (or an Idempotency-Key): what makes a repetition harmless."))?;
    let skills = &api.settings.terms.skills;
    let amount = match (&asked.skill, asked.credits) {
        (Some(skill), None) => *skills.get(skill).ok_or_else(|| {
            let known: Vec<&str> = skills.keys().map(String::as_str).collect();
            unprocessable(format!("There is no skill {skill:?}. Known: {}.", known.join(", ")))
        })?,
        (None, Some(credits)) => positive(credits)?,
        _ => return Err(unprocessable("Send one of `skill` and `credits`.")),
    };
    if asked.r#ref.as_deref().is_some_and(|reference| !input::is_word(reference)) {
        return Err(unprocessable("`ref` must have 1 to 255 bytes, none a control character."));
    }
    let user = asked.user_id.as_str();
    let mut tx = db::begin(&api.pool).await.map_err(|error| failed(&error))?;
    let reference = asked.r#ref.as_deref();
    let spent = match &asked.skill {
        Some(skill) => meters::spend_skill(&mut *tx, user, skill, amount, &key, reference).await,
        None => ledger::spend(&mut *tx, user, amount, &key, reference, None).await,
    };
    let spent = spent.map_err(|error| failed(&error))?;
    let mut is_new = true;
    if let Spent::Done { posting, .. } = spent {
        is_new = adjust_credits::is_new(&mut *tx, posting).await.map_err(|error| failed(&error))?;
        if let Some(who) = who {
            let by = Operator { who, via: Via::Api };
            let noted = adjust_credits::Spend { user, amount, key: &key, posting, reference };
            adjust_credits::note_spend(&mut tx, &by, noted).await.map_err(|error| failed(&error))?;
        }
    }
    tx.commit().await.map_err(|error| failed(&error))?;
    let done = |result: &str, posting: Option<i64>, balance: Credits| {
        let body = json!({ "result": result, "posting": posting, "user_id": user, "amount": amount, "key": key, "balance": balance });
        input::repeated(json(StatusCode::OK, body.to_string()), !is_new)
    };
    match spent {
        Spent::Done { posting, balance } => Ok(done("posted", Some(posting), balance)),
        Spent::Passed { balance } => Ok(done("passed", None, balance)),
        Spent::Short { balance } => {
            let detail = format!("{user} has {balance} credits, and {amount} are needed: nothing was spent.");
            let problem = Problem::new(StatusCode::PAYMENT_REQUIRED, detail);
            Err(problem.with("balance", balance.to_string()).with("needed", amount.to_string()))
        }
        Spent::Conflict { posting } => Err(conflict(&key, posting)),
        Spent::Invalid => Err(unprocessable(format!("{amount} credits cannot be spent at once."))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction {
    user_id: String,
    #[serde(rename = "transaction_type")]
    kind: Type,
    amount: Credits,
    description: String,
    key: Option<String>,
    actor: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
enum Type {
    Grant,
    Removal,
}

/// A word, and nothing that only reads like one: a derived enum takes `{"admin_grant": null}` too.
impl TryFrom<String> for Type {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "admin_grant" => Ok(Self::Grant),
            "admin_removal" => Ok(Self::Removal),
            other => Err(format!("`transaction_type` is {other:?}: write admin_grant or admin_removal")),
        }
    }
}

/// `POST /admin/api/v1/transactions`: a grant or a removal by hand, once for its key.
pub(super) async fn by_hand(api: &Api, request: Request<Incoming>) -> Result<Reply, Problem> {
    let who = Who::of(&request).0;
    let (asked, header) = input::read::<Transaction>(api, request).await?;
    input::user(&asked.user_id)?;
    let amount = positive(asked.amount)?;
    let why = asked.description.trim();
    if why.is_empty() || why.len() > 2000 || why.contains('\0') {
        return Err(unprocessable("`description` says why, in 1 to 2000 bytes."));
    }
    // Whoever has a token of their own is who it says, and nobody else.
    let actor = who.as_deref().or(asked.actor.as_deref()).unwrap_or("api");
    if !input::is_word(actor) {
        return Err(unprocessable("`actor` says who, in 1 to 255 bytes, none a control character."));
    }
    let key = input::one_key(asked.key, header)?.unwrap_or_else(|| Uuid::new_v4().to_string());
    let user = asked.user_id.as_str();
    let (way, kind) = match asked.kind {
        Type::Grant => (Way::Grant, "admin_grant"),
        Type::Removal => (Way::Removal, "admin_removal"),
    };
    let mut tx = db::begin(&api.pool).await.map_err(|error| failed(&error))?;
    let hand = Move { user, way, amount, key: &key, actor, why };
    let mut posted = adjust_credits::post(&mut *tx, hand).await.map_err(|error| failed(&error))?;
    if let Posted::Already(id) = posted {
        let said = adjust_credits::why(&mut *tx, id).await.map_err(|error| failed(&error))?;
        // What a job granted says nothing of the kind.
        if said.is_some_and(|said| said != why) {
            posted = Posted::Conflict(id);
        }
    }
    let balance = ledger::balance(&mut *tx, user).await.map_err(|error| failed(&error))?;
    if let Posted::New(posting) = posted {
        let after = json!({ "posting": posting, "amount": amount, "balance": balance });
        let by = Operator { who: actor.to_owned(), via: Via::Api };
        let what = if way == Way::Grant { "credits.grant" } else { "credits.revoke" };
        by.note(&mut *tx, what, user, (None, Some(after)), Some(why)).await.map_err(|error| failed(&error))?;
    }
    tx.commit().await.map_err(|error| failed(&error))?;
    let (result, posting) = match posted {
        Posted::New(id) => ("posted", id),
        Posted::Already(id) => ("already", id),
        Posted::Conflict(id) => return Err(conflict(&key, id)),
    };
    let body = json!({
        "result": result, "posting": posting, "user_id": user, "transaction_type": kind, "amount": amount, "description": why,
        "actor": actor, "key": key, "balance": balance,
    });
    Ok(input::repeated(json(StatusCode::OK, body.to_string()), result == "already"))
}

fn positive(amount: Credits) -> Result<Credits, Problem> {
    if amount.is_positive() { Ok(amount) } else { Err(unprocessable(format!("{amount} is not more than 0 credits."))) }
}

fn conflict(key: &str, posting: i64) -> Problem {
    let detail = format!(
        "The key {key:?} stands for something else (posting {posting}): repeat that exactly, or take a new key. Nothing was changed."
    );
    unprocessable(detail).with("posting", posting)
}
