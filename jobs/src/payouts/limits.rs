//! What holds a payout back, and what it sends when it goes: the minimum, the caps of a day, and the netting of its receiver's debts.
//!
//! Rules
//! - Below the minimum payouts of a receiver are held, each currency for itself; when what is held reaches it, all of it may go.
//! - A payout that would take what leaves on a UTC day of business time beyond a cap is held until an operator releases it, and the team is told
//!   once for each receiver and day. What is under way is never stopped.
//! - The receiver's row is locked by whoever decides, so that a receiver's sums are exact; where there is a cap on everything, so is the day.
//!   Without one, nothing is locked that two receivers share.
//! - What a payout sends is fixed when it first leaves `held`. One that was under way before is not netted: its bytes stand.

use chrono::NaiveDate;
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    base::money,
    engine::{
        change::AnyChange,
        job::{Effects, NewJob},
    },
    notifications::notify_team::NotifyTeam,
    payouts::{
        change::{Change, Going},
        debt::{self, Carrier},
        state::{Seen, State, turn},
    },
    terms::{Limits, Terms},
};

/// A held payout, as far as limits go.
#[derive(Debug, Clone)]
pub(crate) struct Held<'a> {
    pub job_id: &'a str,
    pub receiver_id: &'a str,
    pub currency: &'a str,
    pub amount: i64,
    /// What it sends, where that is fixed.
    pub fixed: Option<i64>,
    pub minimum_met: bool,
    pub cap_lifted: bool,
}

/// What is weighed; in minor units of the payout's currency.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weights {
    /// What is held for the receiver and has not reached the minimum before.
    pub held: i64,
    /// The receiver's debts, oldest first; none where what it sends is fixed.
    pub carriers: Vec<Carrier>,
    pub today: NaiveDate,
    /// What left today for the receiver, and for all; 0 where no cap asks.
    pub left: i64,
    pub left_for_all: i64,
}

/// What is to be done with it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It goes; the marks are true from the moment that its request may have left.
    Goes {
        /// What its Transfer is to send.
        amount: i64,
        marks: Vec<AnyChange>,
    },
    /// Nothing leaves, and this is what is true.
    Stays(Effects),
}

/// Reads what these terms make worth reading, under the receiver's lock.
pub(crate) async fn weigh(db: &mut PgConnection, held: &Held<'_>, terms: &Terms) -> Result<Weights, sqlx::Error> {
    let limits = terms.payout.limits(held.currency);
    let mut weights = Weights {
        today: sqlx::query_scalar!(r#"SELECT (bursar.now() AT TIME ZONE 'UTC')::date AS "today!""#)
            .fetch_one(&mut *db)
            .await?,
        ..Weights::default()
    };
    if limits.minimum > 0 {
        weights.held = sqlx::query_scalar!(
            r#"SELECT coalesce(sum(amount), 0)::bigint AS "held!" FROM bursar.payout
               WHERE receiver_id = $1 AND currency = $2 AND state = 'held' AND NOT minimum_met AND held_by IS DISTINCT FROM 'cap'"#,
            held.receiver_id,
            held.currency
        )
        .fetch_one(&mut *db)
        .await?;
    }
    if held.fixed.is_none() {
        weights.carriers = sqlx::query_as!(
            Carrier,
            r#"SELECT job_id, carried - recovered AS "open!" FROM bursar.payout
               WHERE receiver_id = $1 AND currency = $2 AND carried <> recovered AND job_id <> $3
                 -- Bytes that may have left before are not changed.
                 AND NOT EXISTS (SELECT FROM bursar.intent WHERE subject = 'payout:' || $3)
               ORDER BY recorded_at, job_id"#,
            held.receiver_id,
            held.currency,
            held.job_id
        )
        .fetch_all(&mut *db)
        .await?;
    }
    if limits.daily_cap.is_some() {
        sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('payout_day:' || $1, 0::bigint))", held.currency)
            .execute(&mut *db)
            .await?;
        weights.left_for_all = left(db, weights.today, held.currency, None).await?;
    }
    if limits.daily_cap_per_receiver.is_some() {
        weights.left = left(db, weights.today, held.currency, Some(held.receiver_id)).await?;
    }
    Ok(weights)
}

/// What left on a day, or may have: for one receiver, or for all. Summed from the payouts themselves, so that a cap that is set at noon
/// knows of the morning.
async fn left(
    db: &mut PgConnection,
    day: NaiveDate,
    currency: &str,
    receiver: Option<&str>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(transfer_amount), 0)::bigint AS "left!" FROM bursar.payout
           WHERE sent_on = $1 AND currency = $2 AND ($3::text IS NULL OR receiver_id = $3)
             AND state IN ('sending', 'unknown', 'paid', 'reversed')"#,
        day,
        currency,
        receiver
    )
    .fetch_one(db)
    .await
}

/// Decides.
pub(crate) fn judge(held: &Held<'_>, weights: &Weights, terms: &Terms) -> Verdict {
    let limits = terms.payout.limits(held.currency);
    let said = |amount| money::format(amount, held.currency);
    let mut changes: Vec<AnyChange> = Vec::new();
    if limits.minimum > 0 && !held.minimum_met && held.fixed.is_none() {
        if weights.held < limits.minimum {
            let missing = limits.minimum - weights.held;
            let why = format!("{} is missing to the minimum of {}", said(missing), said(limits.minimum));
            return stays(held, "minimum", &why, changes, None);
        }
        let (user_id, currency) = (held.receiver_id.to_owned(), held.currency.to_owned());
        changes.push(Change::MinimumMet { user_id, currency }.into());
    }
    let nettings = if held.fixed.is_none() { debt::net(held.amount, &weights.carriers) } else { Vec::new() };
    let netted: i64 = nettings.iter().map(|netting| netting.amount).sum();
    let sends = held.fixed.unwrap_or(held.amount - netted);
    if let Some(why) = over(&limits, weights, sends, held).filter(|_| sends > 0 && !held.cap_lifted) {
        let why = format!("{why}: bursar payouts release {} lets it go", held.job_id);
        let data = json!({
            "job_id": held.job_id, "user_id": held.receiver_id, "amount": sends, "currency": held.currency,
            "day": weights.today, "reason": why,
        });
        let key = format!("capped:{}:{}", weights.today, held.receiver_id);
        let tell = NotifyTeam::of("payout.capped", &key, &data, None);
        return stays(held, "cap", &why, changes, Some(tell));
    }
    let debts: Vec<&str> = nettings.iter().map(|netting| netting.job_id.as_str()).collect();
    let reason = if netted > 0 {
        format!("{} of it settles the debt carried by {}", said(netted), debts.join(", "))
    } else {
        "under way".to_owned()
    };
    let seen = if sends == 0 { Seen::Netted } else { Seen::Begins { ready: true } };
    let (state, _) = turn(State::Held, seen);
    let fixed = held.fixed.is_none().then_some((sends, nettings));
    let going = Going {
        job_id: held.job_id.to_owned(),
        receiver_id: held.receiver_id.to_owned(),
        currency: held.currency.to_owned(),
        state: state.name(),
        reason,
        fixed,
    };
    changes.push(Change::LetGo(going).into());
    if sends == 0 {
        Verdict::Stays(Effects { changes, ..Effects::done() })
    } else {
        Verdict::Goes { amount: sends, marks: changes }
    }
}

fn stays(held: &Held<'_>, by: &'static str, why: &str, mut changes: Vec<AnyChange>, tell: Option<NewJob>) -> Verdict {
    changes.push(Change::HoldBack { job_id: held.job_id.to_owned(), by, why: why.to_owned() }.into());
    let skip = Effects::skip(format!("held: {why}"));
    Verdict::Stays(Effects { changes, follow_ups: tell.into_iter().collect(), ..skip })
}

/// Which cap it would exceed, in words.
fn over(limits: &Limits, weights: &Weights, sends: i64, held: &Held<'_>) -> Option<String> {
    let said = |amount| money::format(amount, held.currency);
    let caps = [
        (limits.daily_cap_per_receiver, weights.left, format!("a day to {}", held.receiver_id)),
        (limits.daily_cap, weights.left_for_all, "a day in all".to_owned()),
    ];
    caps.into_iter().find_map(|(cap, left, of)| {
        let cap = cap.filter(|cap| left.saturating_add(sends) > *cap)?;
        Some(format!("beyond the cap of {} {of}: {} left on {}", said(cap), said(left), weights.today))
    })
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
