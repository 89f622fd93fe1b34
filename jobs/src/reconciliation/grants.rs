//! Grants: what paid invoices and sessions must have granted; and, the other way round, what the grants of the month were paid by.

use std::collections::{BTreeMap, HashMap};

use bursar_stripe::checkout::Session;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    Run,
    compare::Judged,
    entry::{Changed, Due, PaidInvoice},
    finding::{Finding, Type},
};
use crate::{
    base::credits::Credits,
    engine::job::{JobError, Outcome},
    ledger::adjustment::{command, correction, key_of},
    selling::purchase::Shop,
    subscriptions::granted::{self, Granted},
    terms::Terms,
};

/// Postings of our own that are looked at in one job.
const PAGE: i64 = 200;

/// A grant that stands.
#[derive(Debug, Clone)]
struct Standing {
    posting: i64,
    user: String,
    amount: i64,
}

/// The postings that stand under these keys.
async fn standing(db: &mut PgConnection, keys: &[String]) -> Result<HashMap<String, Standing>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT p.id, p.key, p.amount, u.name FROM bursar.posting p JOIN bursar.account u ON u.id = p.credit WHERE p.key = ANY ($1)",
        keys
    )
    .fetch_all(db)
    .await?;
    let user = |name: &str| name.strip_prefix("user:").unwrap_or_default().to_owned();
    let standing = |name: &str, posting, amount| Standing { posting, user: user(name), amount };
    Ok(rows.into_iter().map(|row| (row.key, standing(&row.name, row.id, row.amount))).collect())
}

/// Those of these objects that an operator has settled by hand.
async fn settled(db: &mut PgConnection, objects: &[String]) -> Result<Vec<String>, sqlx::Error> {
    let keys: Vec<String> = objects.iter().map(|object| format!("admin:{}", key_of(object))).collect();
    let found = sqlx::query_scalar!("SELECT key FROM bursar.posting WHERE key = ANY ($1)", &keys).fetch_all(db).await?;
    Ok(found.into_iter().filter_map(|key| Some(key.strip_prefix("admin:reconcile:")?.to_owned())).collect())
}

/// What became of the events about these objects: a dead job says why a grant is missing.
async fn heard(db: &mut PgConnection, objects: &[String]) -> Result<BTreeMap<String, Vec<Value>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT e.object_id AS "object!", e.id, e.type, j.id AS job, j.kind, j.state, j.reason
           FROM bursar.event e LEFT JOIN bursar.job j ON j.cause = e.id
           WHERE e.source = 'stripe' AND e.object_id = ANY ($1) ORDER BY e.id, j.id"#,
        objects
    )
    .fetch_all(db)
    .await?;
    let mut heard: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        heard.entry(row.object).or_default().push(json!({
            "event": row.id, "type": row.r#type, "job": row.job, "kind": row.kind, "state": row.state, "reason": row.reason,
        }));
    }
    Ok(heard)
}

/// What the paid invoices of a page lack.
pub(super) async fn invoices(
    db: &mut PgConnection,
    run: &Run,
    invoices: &[PaidInvoice],
) -> Result<Vec<Finding>, sqlx::Error> {
    if invoices.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<String> = invoices.iter().flat_map(|i| i.grants.iter().map(|due| due.key.clone())).collect();
    let grants = standing(&mut *db, &keys).await?;
    let ids: Vec<String> = invoices.iter().map(|invoice| invoice.id.clone()).collect();
    let before = granted::by_invoice(&mut *db, &ids).await?;
    let customers: Vec<String> = invoices.iter().filter_map(|invoice| invoice.customer.clone()).collect();
    let links: HashMap<String, String> =
        sqlx::query!("SELECT id, user_id FROM bursar.customer WHERE id = ANY ($1)", &customers)
            .fetch_all(&mut *db)
            .await?
            .into_iter()
            .map(|row| (row.id, row.user_id))
            .collect();
    let mut findings = Vec::new();
    for invoice in invoices {
        let linked = invoice.customer.as_ref().and_then(|customer| links.get(customer));
        let granted = before.get(&invoice.id).map(Vec::as_slice).unwrap_or_default();
        findings.extend(of_invoice(invoice, linked, &grants, granted, run));
        for change in &invoice.changes {
            findings.extend(of_change(db, invoice, linked, change).await?);
        }
    }
    let objects: Vec<String> = findings.iter().map(|finding| finding.object.clone()).collect();
    let (settled, mut heard) = (settled(&mut *db, &objects).await?, heard(db, &objects).await?);
    findings.retain(|finding| !settled.contains(&finding.object));
    for finding in &mut findings {
        finding.evidence["events"] = json!(heard.remove(&finding.object).unwrap_or_default());
    }
    Ok(findings)
}

/// Whose an invoice is, by the rules of a refill: one user, named or linked; an `Err` says what is known instead.
fn whose(invoice: &PaidInvoice, linked: Option<&String>) -> Result<String, Value> {
    match (invoice.named.as_slice(), linked) {
        ([], Some(user)) | ([user], None) => Ok(user.clone()),
        ([user], Some(linked)) if user == linked => Ok(user.clone()),
        (named, linked) => Err(json!({ "named": named, "linked": linked })),
    }
}

fn of_invoice(
    invoice: &PaidInvoice,
    linked: Option<&String>,
    grants: &HashMap<String, Standing>,
    granted: &[Granted],
    run: &Run,
) -> Option<Finding> {
    let ours = linked.is_some() || !invoice.named.is_empty();
    let user = whose(invoice, linked);
    let evidence = |more: Value| {
        json!({ "paid": invoice.amount_paid, "currency": invoice.currency, "paid_at": invoice.paid_at,
                "customer": invoice.customer, "expected": invoice.grants, "books": more })
    };
    if let Some(problem) = &invoice.problem {
        let found = Finding::new(Type::MissingGrant, &invoice.id, evidence(json!({ "why": problem })));
        let remedy = invoice.remedy.as_deref().unwrap_or("do what is said there, then: bursar reconcile --repair");
        return ours.then(|| found.of_user(user.as_deref().ok()).by_hand(remedy));
    }
    let due: Vec<&str> = invoice.grants.iter().map(|due| due.key.as_str()).collect();
    if let Some(other) = granted::otherwise_named(granted, &due).first() {
        let was = granted::in_all(granted, &due);
        return granted_otherwise(invoice, other, was, user.as_ref().ok(), &evidence);
    }
    let missing: Vec<&Due> = invoice.grants.iter().filter(|due| !grants.contains_key(&due.key)).collect();
    if !missing.is_empty() {
        let lacks = missing.iter().fold(0_i64, |sum, due| sum.saturating_add(due.credits));
        let keys: Vec<&str> = missing.iter().map(|due| due.key.as_str()).collect();
        return Some(match user {
            Ok(user) => Finding::new(Type::MissingGrant, &invoice.id, evidence(json!({ "missing": keys })))
                .of_user(Some(&user))
                .credits(lacks)
                .by_repair(),
            Err(known) => {
                let month = run.from.format("%Y-%m");
                let customer = invoice.customer.as_deref().unwrap_or("its customer");
                let remedy = format!(
                    "find out whose it is, set metadata.user_id of {customer} at Stripe, then: bursar reconcile --month {month} --repair"
                );
                Finding::new(Type::UserUnknown, &invoice.id, evidence(json!({ "missing": keys, "users": known })))
                    .credits(lacks)
                    .by_hand(remedy)
            }
        });
    }
    let user = user.ok();
    let wrong = invoice.grants.iter().find_map(|due| {
        let stands = grants.get(&due.key)?;
        let other = user.as_ref().is_some_and(|user| *user != stands.user);
        (stands.amount != due.credits || other).then(|| (due, stands.clone()))
    });
    let (due, stands) = wrong?;
    let books =
        json!({ "key": due.key, "posting": stands.posting, "user_id": stands.user, "credits": micros(stands.amount) });
    Some(
        Finding::new(Type::WrongAmount, &invoice.id, evidence(books))
            .of_user(Some(&stands.user))
            .credits(stands.amount - due.credits)
            .by_hand(correction((&stands.user, stands.amount), (user.as_deref(), due.credits), &invoice.id)),
    )
}

fn micros(amount: i64) -> String {
    Credits::from_micros(amount).to_string()
}

/// What is to be said of an invoice that granted the same months under another tier's name, and perhaps under the name of now as well:
/// only what it comes to in all.
fn granted_otherwise(
    invoice: &PaidInvoice,
    other: &Granted,
    was: i64,
    user: Option<&String>,
    evidence: &impl Fn(Value) -> Value,
) -> Option<Finding> {
    let wanted = invoice.grants.iter().fold(0_i64, |sum, due| sum.saturating_add(due.credits));
    if was == wanted && user.is_none_or(|user| *user == other.user) {
        return None;
    }
    let books = json!({ "key": other.key, "posting": other.posting, "user_id": other.user, "credits": micros(was) });
    let found = Finding::new(Type::WrongAmount, &invoice.id, evidence(books)).of_user(Some(&other.user));
    let remedy = correction((&other.user, was), (user.map(String::as_str), wanted), &invoice.id);
    Some(found.credits(was - wanted).by_hand(remedy))
}

/// A rise of plan that was paid for, and that nobody told of.
async fn of_change(
    db: &mut PgConnection,
    invoice: &PaidInvoice,
    linked: Option<&String>,
    change: &Changed,
) -> Result<Option<Finding>, sqlx::Error> {
    // Seen late by a look, it is noted later than it was made: within the time that was paid for.
    let noted = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bursar.plan_change WHERE subscription_id = $1 AND new_value = $2 AND billed
                          AND at >= $3::timestamptz - interval '5 minutes' AND at < $4) AS "noted!""#,
        change.subscription,
        change.new_value,
        change.at,
        change.until
    )
    .fetch_one(&mut *db)
    .await?;
    let Ok(user) = whose(invoice, linked) else { return Ok(None) };
    if noted {
        return Ok(None);
    }
    let whole = (change.until - change.at).num_seconds().max(1);
    // A month's worth at most: how much it is, is said by the month that it falls in.
    let month = i128::from(whole.min(31 * 86_400)) * i128::from(change.new_value - change.old_value) / (31 * 86_400);
    let object = format!("{}:{}", change.subscription, change.at.format("%Y-%m-%dT%H:%M:%SZ"));
    let evidence = json!({ "invoice": invoice.id, "change": change, "paid": invoice.amount_paid });
    let found = Finding::new(Type::MissingGrant, object, evidence).of_user(Some(&user));
    Ok(Some(found.credits(i64::try_from(month).unwrap_or_default()).by_repair()))
}

/// The paid sessions of a page, and what is known beside them. What they are worth follows from the terms.
#[derive(Debug)]
pub(super) struct Sold {
    sessions: Vec<Session>,
    shop: Shop,
    grants: HashMap<String, Standing>,
    settled: Vec<String>,
    heard: BTreeMap<String, Vec<Value>>,
}

impl Sold {
    pub async fn gather(db: &mut PgConnection, _: &Run, sessions: Vec<Session>) -> Result<Self, sqlx::Error> {
        let shop = Shop::of(&mut *db, &sessions.iter().collect::<Vec<_>>()).await?;
        let ids: Vec<String> = sessions.iter().map(|session| session.id.clone()).collect();
        let keys: Vec<String> = ids.iter().map(|id| format!("purchase:{id}")).collect();
        let grants = standing(&mut *db, &keys).await?;
        let lacking: Vec<String> =
            ids.iter().filter(|id| !grants.contains_key(&format!("purchase:{id}"))).cloned().collect();
        let (settled, heard) = (settled(&mut *db, &ids).await?, heard(db, &lacking).await?);
        Ok(Self { sessions, shop, grants, settled, heard })
    }

    pub fn judge(&self, terms: &Terms) -> Vec<Finding> {
        let open = self.sessions.iter().filter(|session| !self.settled.contains(&session.id));
        open.filter_map(|session| self.of_session(session, terms)).collect()
    }

    fn of_session(&self, session: &Session, terms: &Terms) -> Option<Finding> {
        let stands = self.grants.get(&format!("purchase:{}", session.id));
        let events = self.heard.get(&session.id).cloned().unwrap_or_default();
        let evidence = |more: Value| {
            json!({ "before_discounts": session.amount_subtotal, "currency": session.currency, "books": more,
                    "customer": session.customer, "events": events })
        };
        match (self.shop.grant(session, terms, None), stands) {
            (Ok(effects), None) if effects.outcome == Outcome::Done => {
                let due = effects.postings.iter().find(|posting| posting.kind == "purchase")?;
                let user = crate::selling::purchase::named_user(session);
                let found = Finding::new(Type::MissingGrant, &session.id, evidence(json!({ "missing": [due.key] })));
                Some(found.of_user(user.as_deref()).credits(due.amount).by_repair())
            }
            (Ok(effects), None) => {
                // It names nobody. By its price it is ours all the same; by its amount alone it may be anybody's.
                matches!(effects.outcome, Outcome::Skip(_)).then_some(())?;
                let credits = self.shop.sells(session, terms)?;
                let remedy = format!(
                    "find out whose it is, then: {}",
                    crate::selling::purchase::command(&session.id, "USER", Some(credits))
                );
                let found = Finding::new(Type::UserUnknown, &session.id, evidence(Value::Null));
                Some(found.credits(credits.micros()).by_hand(remedy))
            }
            (Err(JobError::Dead(why)), None) => {
                let found = Finding::new(Type::MissingGrant, &session.id, evidence(json!({ "why": why })));
                let remedy = match crate::selling::purchase::named_user(session) {
                    Some(user) => format!(
                        "mend what is said there and repair, or: {}",
                        crate::selling::purchase::command(&session.id, &user, None)
                    ),
                    None => "mend what is said there, then: bursar reconcile --repair".to_owned(),
                };
                Some(found.of_user(crate::selling::purchase::named_user(session).as_deref()).by_hand(remedy))
            }
            (Ok(effects), Some(stands)) => {
                let due = effects.postings.iter().find(|posting| posting.kind == "purchase")?;
                let user = crate::selling::purchase::named_user(session);
                let other = user.as_ref().is_some_and(|user| *user != stands.user);
                if due.amount == stands.amount && !other {
                    return None;
                }
                let books = json!({ "posting": stands.posting, "user_id": stands.user, "credits": micros(stands.amount),
                                    "expected": micros(due.amount) });
                let found = Finding::new(Type::WrongAmount, &session.id, evidence(books)).of_user(Some(&stands.user));
                let remedy = correction((&stands.user, stands.amount), (user.as_deref(), due.amount), &session.id);
                Some(found.credits(stands.amount - due.amount).by_hand(remedy))
            }
            // What cannot be judged any more, as after a package went, was granted when it could.
            (Err(_), _) => None,
        }
    }
}

/// A page of the month's own grants: which were paid by nothing that was seen.
pub(super) async fn page(db: &mut PgConnection, run: &Run, after: Option<&str>) -> Result<Judged, sqlx::Error> {
    let after: i64 = after.and_then(|id| id.parse().ok()).unwrap_or_default();
    let rows = sqlx::query!(
        r#"SELECT p.id, p.ref, (SELECT r.id IS NOT NULL FROM bursar.reconciled r WHERE r.run = $1 AND r.id = p.ref) AS seen,
                  -- A refill of a later month of a period: it was paid for long before, and a signed event said so.
                  EXISTS (SELECT FROM bursar.event e WHERE e.source = 'stripe' AND e.object_id = p.ref AND e.received_at < $2
                            AND e.type IN ('invoice.paid', 'invoice.payment_succeeded') AND e.id NOT LIKE 'reconcile:%') AS "told!",
                  EXISTS (SELECT FROM bursar.service_month m WHERE m.subscription_id = p.ref) AS "served!"
           FROM bursar.posting p JOIN bursar.account i ON i.id = p.debit AND i.name = 'issuance' AND i.unit = 'credits'
           WHERE p.id > $4 AND p.posted_at >= $2 AND p.posted_at < $3
             AND p.kind IN ('purchase', 'refill', 'plan_change') AND p.reverses IS NULL
           ORDER BY p.id LIMIT $5"#,
        run.id,
        run.from,
        run.before,
        after,
        PAGE
    )
    .fetch_all(&mut *db)
    .await?;
    let more = i64::try_from(rows.len()).is_ok_and(|read| read == PAGE);
    let mut judged = Judged { after: rows.last().filter(|_| more).map(|row| row.id.to_string()), ..Judged::default() };
    let mut bare = Vec::new();
    for row in rows {
        if row.seen == Some(true) || row.told || row.served {
            continue;
        }
        match row.r#ref.filter(|id| bursar_stripe::lists::object(id).is_some()) {
            Some(id) => judged.ask.push(id),
            None => bare.push(row.id),
        }
    }
    judged.ask.sort_unstable();
    judged.ask.dedup();
    judged.findings = unpaid(db, &bare, "it names nothing that could be paid at Stripe").await?;
    Ok(judged)
}

/// Grants that nothing at Stripe stands for, by their postings.
pub(super) async fn unpaid(db: &mut PgConnection, postings: &[i64], why: &str) -> Result<Vec<Finding>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT p.id, p.key, p.kind, p.amount, p.ref, p.event_id, p.job_id, p.posted_at, u.name AS user,
                  coalesce((SELECT sum(r.amount) FROM bursar.posting r WHERE r.reverses = p.id), 0)::bigint AS "gone!"
           FROM bursar.posting p JOIN bursar.account u ON u.id = p.credit WHERE p.id = ANY ($1) ORDER BY p.id"#,
        postings
    )
    .fetch_all(&mut *db)
    .await?;
    let objects: Vec<String> = rows.iter().map(|row| format!("posting:{}", row.id)).collect();
    let settled = settled(db, &objects).await?;
    let mut findings = Vec::new();
    for (row, object) in rows.into_iter().zip(objects) {
        let left = row.amount - row.gone;
        if left <= 0 || settled.contains(&object) {
            continue;
        }
        let user = row.user.strip_prefix("user:").unwrap_or_default().to_owned();
        let evidence = json!({ "why": why, "key": row.key, "kind": row.kind, "ref": row.r#ref, "event": row.event_id,
                               "job": row.job_id, "posted_at": row.posted_at, "taken_back": micros(row.gone) });
        let remedy = command("revoke", &user, left, &object);
        let found = Finding::new(Type::GrantWithoutPayment, object, evidence).of_user(Some(&user));
        findings.push(found.credits(left).by_hand(remedy));
    }
    Ok(findings)
}
