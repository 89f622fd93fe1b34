//! What grants of a subscription stand on: its months of service, and the changes of its plan within them.
//!
//! Refills
//! - A month is refilled once; what an earlier refill left over is dealt with then, by the tier's policy: `rollover` keeps it, `reset`
//!   lets it expire, `cap` lets expire what is more than so many months' worth. Spends eat what refills gave first, so that bought
//!   credits never expire, and nothing expires that is not there.
//! - A month that comes after a later one (out of order) is granted and expires nothing.
//!
//! Plan changes
//! - They are computed absolutely, from the whole history of signed changes: a change from `old` to `new` at `t` in the month `[s, e)`
//!   is worth (new − old) × (e − t) / (e − s), rounded towards zero to a millionth; the month's extra is their sum, and never less than
//!   none. What is posted is the difference to what was posted. So an up-and-down loop nets zero, and so does a down-and-up loop; a
//!   plain downgrade takes effect at renewal; a second upgrade counts from the plan's value; and neither order nor repetition matters.
//! - A change that nothing bills, neither now nor at the renewal (Stripe: `proration_behavior=none`), moved no money: it grants nothing and
//!   takes nothing back. The plan it leads to counts from the next month on.
//! - A month that begins within another one takes its place. Where Stripe gave the money for the other's rest back (a switch between the
//!   month and the year, with proration), that rest of its value and of its changes goes back as well: a loop nets zero here too.
//! - A month that was paid in part (see [`charged_share`](crate::subscriptions::charged_share)) counts a change in the same part: its value is that part of the plan's.
//! - A change belongs to the month that it falls in; one at the very start of a month is in that month's refill already.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::PgConnection;

use crate::{
    base::{calendar, credits::Credits},
    ledger::{Account, CREDITS, Posting},
    subscriptions::{
        change::{Change, Month, PlanChange},
        charged_share::Months,
    },
    terms::{Policy, Tier},
};

/// What the grants of one subscription stand on.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Its months, oldest first.
    pub months: Vec<Month>,
    /// Its changes, oldest first.
    pub changes: Vec<PlanChange>,
    /// What its months are counted from, where Stripe was asked.
    pub anchor: Option<DateTime<Utc>>,
    /// When Stripe was asked for it last.
    pub asked_at: Option<DateTime<Utc>>,
    /// Its user and its customer, as they were then.
    pub known: Option<(String, Option<String>)>,
    /// What its user has spent since the newest month was refilled, with what was taken back of refills, less what was returned. In
    /// millionths.
    pub spent: i64,
}

/// Reads what these subscriptions stand on, and holds it until the transaction ends: subscriptions first, in one order, accounts after.
pub async fn hold(db: &mut PgConnection, subscriptions: &[String]) -> Result<HashMap<String, Standing>, sqlx::Error> {
    let mut names: Vec<String> = subscriptions.iter().map(|id| format!("subscription:{id}")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended(name, 0::bigint)) FROM pg_catalog.unnest($1::text[]) AS name",
        &names
    )
    .execute(&mut *db)
    .await?;
    let mut all: HashMap<String, Standing> = subscriptions.iter().map(|id| (id.clone(), Standing::default())).collect();
    let months = sqlx::query!(
        r#"SELECT subscription_id, start_at, end_at, user_id, value, coalesce(plan_value, value) AS "plan_value!", paid_num, paid_den,
                  left_over, extra, changes, refill_key, replaces
           FROM bursar.service_month WHERE subscription_id = ANY ($1) ORDER BY subscription_id, start_at"#,
        subscriptions
    );
    for row in months.fetch_all(&mut *db).await? {
        let month = Month {
            subscription_id: row.subscription_id,
            start_at: row.start_at,
            end_at: row.end_at,
            user_id: row.user_id,
            value: row.value,
            plan_value: row.plan_value,
            paid: row.paid_num.zip(row.paid_den).map(|(num, den)| Months { num, den }),
            left_over: row.left_over,
            extra: row.extra,
            changes: row.changes,
            refill_key: row.refill_key,
            replaces: row.replaces,
        };
        all.entry(month.subscription_id.clone()).or_default().months.push(month);
    }
    let changes = sqlx::query_as!(
        PlanChange,
        "SELECT subscription_id, at, old_value, new_value, event_id, billed FROM bursar.plan_change
         WHERE subscription_id = ANY ($1) ORDER BY subscription_id, at",
        subscriptions
    );
    for change in changes.fetch_all(&mut *db).await? {
        all.entry(change.subscription_id.clone()).or_default().changes.push(change);
    }
    let rows = sqlx::query!(
        "SELECT id, anchor, asked_at, user_id, customer_id FROM bursar.subscription WHERE id = ANY ($1)",
        subscriptions
    );
    for row in rows.fetch_all(&mut *db).await? {
        let standing = all.entry(row.id).or_default();
        (standing.anchor, standing.asked_at) = (row.anchor, Some(row.asked_at));
        standing.known = Some((row.user_id, row.customer_id));
    }
    Ok(all)
}

/// Locks the accounts of users, in the one order, and reads their balances; and what each standing's user has spent since its newest
/// month was refilled.
pub async fn count(
    db: &mut PgConnection,
    users: &[String],
    standings: &mut HashMap<String, Standing>,
) -> Result<HashMap<String, i64>, sqlx::Error> {
    let names: Vec<String> = users.iter().map(|user| Account::User(user.clone()).to_string()).collect();
    let accounts = sqlx::query!(
        "SELECT id, name, balance FROM bursar.account WHERE unit = 'credits' AND name = ANY ($1) ORDER BY id FOR NO KEY UPDATE",
        &names
    )
    .fetch_all(&mut *db)
    .await?;
    for standing in standings.values_mut() {
        let Some(month) = standing.months.last() else { continue };
        let name = Account::User(month.user_id.clone()).to_string();
        let Some(account) = accounts.iter().find(|account| account.name == name) else { continue };
        standing.spent = sqlx::query_scalar!(
            // What a refund took back of a refill is no more left than what was spent.
            r#"SELECT (coalesce((SELECT sum(p.amount) FROM bursar.posting p LEFT JOIN bursar.posting of ON of.id = p.reverses
                                 WHERE p.debit = $1 AND p.id > r.id
                                   AND (p.kind = 'spend' OR of.kind IN ('refill', 'plan_change'))), 0)
                     - coalesce((SELECT sum(p.amount) FROM bursar.posting p JOIN bursar.posting of ON of.id = p.reverses
                                 WHERE p.credit = $1 AND p.id > r.id AND of.id > r.id AND of.debit = $1), 0))::bigint AS "spent!"
               FROM bursar.posting r WHERE r.key = $2"#,
            account.id,
            month.refill_key
        )
        .fetch_optional(&mut *db)
        .await?
        .unwrap_or_default();
    }
    let user_of = |name: &str| name.strip_prefix("user:").unwrap_or_default().to_owned();
    Ok(accounts.into_iter().map(|account| (user_of(&account.name), account.balance)).collect())
}

/// The key of a tier's refill for the month that begins then.
pub fn refill_key(subscription: &str, tier: &str, start: DateTime<Utc>) -> String {
    format!("refill:{subscription}:{tier}:{}", seconds(start))
}

/// A moment as it stands in keys.
pub fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// One month to refill.
#[derive(Debug)]
pub struct Refill<'a> {
    /// `sub_…`
    pub subscription: &'a str,
    /// Whose.
    pub user: &'a str,
    /// When the month begins.
    pub start: DateTime<Utc>,
    /// When the next one may.
    pub end: DateTime<Utc>,
    /// What it grants, by tier; the first one's policy counts.
    pub grants: Vec<(&'a Tier, Credits)>,
    /// What the plan grants in a month that is paid in full, in millionths.
    pub plan_value: i64,
    /// How many months the period pays for that begins with it, where that does not follow from its length.
    pub paid: Option<Months>,
    /// Whether Stripe gave the money back for the rest of the month that it begins in.
    pub replaces: bool,
}

/// The postings and the month of a refill. The standing and the balance go on with it.
pub fn refill(standing: &mut Standing, balance: &mut i64, refill: &Refill<'_>) -> (Vec<Posting>, Vec<Change>) {
    let Some((first, _)) = refill.grants.first() else { return (Vec::new(), Vec::new()) };
    let value = refill.grants.iter().fold(0i64, |sum, (_, credits)| sum.saturating_add(credits.micros()));
    let key = refill_key(refill.subscription, &first.name, refill.start);
    let grants = refill.grants.iter().map(|(tier, credits)| {
        Posting::grant("refill", refill_key(refill.subscription, &tier.name, refill.start), refill.user, *credits)
    });
    let mut postings: Vec<Posting> = grants.collect();
    let newest = standing.months.last();
    if newest.is_some_and(|month| month.start_at >= refill.start) {
        // Known, or late: what it grants is keyed, and what is left over was dealt with by its successor.
        let known = standing.months.iter().any(|month| month.start_at == refill.start);
        let late = month_of(refill, value, 0, key);
        if !known {
            let next = standing.months.iter().find(|month| month.start_at > refill.start);
            postings.extend(next.and_then(|next| late.rest_back(next)));
            standing.months.push(late.clone());
            standing.months.sort_by_key(|month| month.start_at);
        }
        return (postings, vec![Change::RefillMonth(late)]);
    }
    let this = month_of(refill, value, 0, key);
    let back = newest.and_then(|month| month.rest_back(&this));
    let rest = back.as_ref().map_or(0, |posting| posting.amount);
    postings.extend(back);
    *balance = balance.saturating_sub(rest);
    let left = newest.map_or(0, |month| {
        // What is to go back of its changes, too, is not left.
        let extra = month.extra.min(if rest > 0 { standing.extra(month, Some(&this)) } else { month.extra });
        let left = month.left_over.saturating_sub(rest).saturating_add(extra).saturating_sub(standing.spent.max(0));
        left.min(*balance).max(0)
    });
    let all = left.saturating_add(value);
    let expired = match first.refill.policy {
        Policy::Rollover => 0,
        Policy::Reset => left,
        Policy::Cap { months } => (all - refill.plan_value.saturating_mul(i64::from(months))).max(0).min(all),
    };
    if expired > 0 {
        let key = format!("expiry:{}:{}", refill.subscription, seconds(refill.start));
        let user = Account::User(refill.user.to_owned());
        postings.push(Posting::new("expiry", key, user, Account::Breakage, CREDITS, expired));
    }
    let month = Month { left_over: all - expired, ..this };
    *balance = balance.saturating_add(value).saturating_sub(expired);
    standing.spent = 0;
    standing.months.push(month.clone());
    (postings, vec![Change::RefillMonth(month)])
}

fn month_of(refill: &Refill<'_>, value: i64, left_over: i64, refill_key: String) -> Month {
    Month {
        subscription_id: refill.subscription.to_owned(),
        start_at: refill.start,
        end_at: refill.end,
        user_id: refill.user.to_owned(),
        value,
        plan_value: refill.plan_value,
        paid: refill.paid,
        left_over,
        extra: 0,
        changes: 0,
        refill_key,
        replaces: refill.replaces,
    }
}

impl Month {
    /// Until when a change falls into it, and until when it counts, before the month that comes next.
    pub fn window(&self, next: Option<&Self>) -> (DateTime<Utc>, DateTime<Utc>) {
        let end = next.map_or(self.end_at, |next| next.start_at.min(self.end_at));
        (end, if next.is_some_and(|next| next.replaces) { end } else { self.end_at })
    }

    /// What so much more a month is worth from a moment on, rounded towards zero.
    pub fn worth(&self, more: i64, at: DateTime<Utc>, until: DateTime<Utc>) -> i64 {
        let whole = i128::from((self.end_at - self.start_at).num_seconds().max(1));
        let (value, plan) = if self.is_in_part() { (self.value.into(), self.plan_value.into()) } else { (1, 1) };
        let exact = i128::from(more) * i128::from((until - at).num_seconds());
        let worth = match exact.checked_mul(value) {
            Some(exact) => exact / (whole * plan),
            // Credits that nobody has.
            None => exact / whole / plan * value,
        };
        i64::try_from(worth).unwrap_or(if worth < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it was paid in part.
    fn is_in_part(&self) -> bool {
        self.value != self.plan_value && self.plan_value > 0
    }

    /// What goes back of its value where the next month took its place.
    fn rest_back(&self, next: &Self) -> Option<Posting> {
        let (whole, rest) = ((self.end_at - self.start_at).num_seconds(), (self.end_at - next.start_at).num_seconds());
        if !next.replaces || rest <= 0 || whole <= 0 {
            return None;
        }
        let back = i64::try_from(i128::from(self.value) * i128::from(rest) / i128::from(whole)).unwrap_or(i64::MAX);
        let key = format!("plan_change:{}:{}:replaced", self.subscription_id, seconds(self.start_at));
        let user = Account::User(self.user_id.clone());
        (back > 0).then(|| Posting::new("plan_change", key, user, Account::Issuance, CREDITS, back))
    }
}

impl Standing {
    /// Whose it is, as far as is known.
    pub fn user(&self) -> Option<String> {
        let of_months = self.months.last().map(|month| month.user_id.clone());
        of_months.or_else(|| self.known.as_ref().map(|(user, _)| user.clone()))
    }

    /// Adds a change that an event told of; one that is known, or no change at all, adds nothing.
    pub fn note(&mut self, change: PlanChange) -> Option<Change> {
        let same = |known: &PlanChange| {
            (known.at, known.old_value, known.new_value) == (change.at, change.old_value, change.new_value)
        };
        if change.old_value == change.new_value || self.changes.iter().any(same) {
            return None;
        }
        self.changes.push(change.clone());
        self.changes.sort_by_key(|change| change.at);
        Some(Change::NotePlanChange(change))
    }

    /// What the plan is worth after all that is known; none where nothing is.
    pub fn last_value(&self) -> Option<i64> {
        let month = self.months.last();
        let from = month.map_or(DateTime::<Utc>::MIN_UTC, |month| month.start_at);
        let start =
            month.map(|month| month.plan_value).or_else(|| self.changes.first().map(|change| change.old_value))?;
        Some(walk(start, self.changes.iter().filter(|change| change.at >= from)).last().map_or(start, |step| step.new))
    }

    /// What the plan was worth at a moment, going back from what it is now.
    pub fn value_at(&self, at: DateTime<Utc>, now: i64) -> i64 {
        self.changes.iter().find(|change| change.at > at).map_or(now, |change| change.old_value)
    }

    /// What is to be posted for plan changes, and what that makes of the months.
    pub fn settle(&self) -> (Vec<Posting>, Vec<Change>) {
        let (mut postings, mut changes) = (Vec::new(), Vec::new());
        for (i, month) in self.months.iter().enumerate() {
            let extra = self.extra(month, self.months.get(i + 1));
            let more = extra - month.extra;
            if more == 0 {
                continue;
            }
            let number = month.changes + 1;
            let key = format!("plan_change:{}:{}:{number}", month.subscription_id, seconds(month.start_at));
            let user = Account::User(month.user_id.clone());
            let (debit, credit) = if more > 0 { (Account::Issuance, user) } else { (user, Account::Issuance) };
            let mut posting = Posting::new("plan_change", key, debit, credit, CREDITS, more.abs());
            posting.reference = Some(month.subscription_id.clone());
            postings.push(posting);
            changes.push(Change::SetExtra(Month { extra, changes: number, ..month.clone() }));
        }
        (postings, changes)
    }

    /// What plan changes are worth in a month, in millionths.
    fn extra(&self, month: &Month, next: Option<&Month>) -> i64 {
        let (end, until) = month.window(next);
        let within = self.changes.iter().filter(|change| change.at >= month.start_at && change.at < end);
        let sum: i128 = walk(month.plan_value, within)
            .filter(|step| step.billed)
            .map(|Step { at, old, new, .. }| i128::from(month.worth(new.saturating_sub(old), at, until)))
            .sum();
        i64::try_from(sum.max(0)).unwrap_or(i64::MAX)
    }
}

/// A change of a plan as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub at: DateTime<Utc>,
    pub old: i64,
    pub new: i64,
    /// Whether anything bills it.
    pub billed: bool,
}

/// The steps from a value through changes, oldest first. A twin leads nowhere and is left out. What Stripe did within
/// one second is put in the order in which one leads to the next.
pub(crate) fn walk<'a>(from: i64, changes: impl Iterator<Item = &'a PlanChange>) -> impl Iterator<Item = Step> {
    let mut seconds: BTreeMap<DateTime<Utc>, Vec<&PlanChange>> = BTreeMap::new();
    for change in changes {
        seconds.entry(change.at).or_default().push(change);
    }
    let mut steps = Vec::new();
    let mut value = from;
    for (at, mut left) in seconds {
        // The order of what cannot be chained must not depend on the order of arrival.
        left.sort_by_key(|change| (change.old_value, change.new_value));
        while !left.is_empty() {
            let next = left.iter().position(|change| change.old_value == value).unwrap_or(0);
            let change = left.remove(next);
            if change.new_value != value {
                steps.push(Step { at, old: value, new: change.new_value, billed: change.billed });
                value = change.new_value;
            }
        }
    }
    steps.into_iter()
}

/// When the month ends that a paid line begins, by the anchor that is known.
pub fn end_of(standing: &Standing, start: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
    calendar::end_of_month(standing.anchor.unwrap_or(start), start, end)
}

#[cfg(test)]
mod tests;
