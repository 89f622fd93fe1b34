//! Watch events: every quarter of an hour Stripe's own list of events is compared with the inbox, from where it was compared up to last,
//! and what never arrived is received as if it had. This job looks where that stands; [`read_events`](crate::event_gaps::read_events) reads.
//!
//! Rules
//! - Of the types on which this version acts, and no others: an endpoint at Stripe has no more than these, so every other event would seem
//!   missed. It is cheaper, too: most of what happens at Stripe is of other types, which would be read to become nothing. Two lists of
//!   twenty types at most are one request each in a quiet quarter of an hour.
//! - The mark moves when a walk has come to its end, and to when that walk began. A walk begins two hours before the mark, for Stripe may
//!   list an event late. It never goes back before the watch's beginning: a fresh deployment imports no history.
//! - One walk at a time. The tick of a walk that is still under way begins none.
//! - Stripe tries a webhook for 3 days and lists an event for 30 (Stripe: webhooks; events): the team is told before either runs out, once
//!   for each mark.
//! - What happened on connected accounts is not in the platform's list: what is held for a receiver is asked about by `sweep_held`.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgConnection, PgExecutor};

use crate::{
    base::clock,
    engine::{
        change::AnyChange,
        job::{Effects, Job, JobError, NewJob, Outcome, Pure},
        kind::{Kind, WATCH_EVENTS},
    },
    event_gaps::{change::Change, read_events::ReadEvents},
    notifications::notify_team::NotifyTeam,
    terms::Terms,
};

/// The built-in schedule that fires it.
pub const SCHEDULE: &str = "event-watch";
/// Its time.
pub const EVERY_QUARTER: &str = "*/15 * * * *";

/// How long after it happened Stripe may list an event, with room to spare.
const OVERLAP: TimeDelta = TimeDelta::hours(2);
/// Stripe lists an event for so long.
const LISTED: TimeDelta = TimeDelta::days(30);
/// Half a day before a webhook is given up, and five before an event is forgotten: time to mend what is broken.
const WARN: [(TimeDelta, &str, &str); 3] = [
    (
        LISTED,
        "lost",
        "events older than 30 days are not to be had any more: run `bursar reconcile` for the months since",
    ),
    (TimeDelta::days(25), "30 days", "in five days Stripe begins to forget events that were never compared"),
    (
        TimeDelta::hours(60),
        "3 days",
        "in half a day Stripe gives up webhooks that were not taken; its list goes back 30 days",
    ),
];

/// Begins the watch, if it has not begun: for a worker that starts with Stripe on.
pub async fn begin(db: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO bursar.event_watch (began_at, compared_until) SELECT n, n FROM bursar.now() AS n ON CONFLICT DO NOTHING"
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Looks once.
#[derive(Debug, Serialize, Deserialize)]
pub struct WatchEvents {}

/// Where the watch stands.
#[derive(Debug, Clone)]
pub struct Facts {
    mark: Option<Mark>,
    walking: bool,
    now: DateTime<Utc>,
}

#[derive(Debug, Clone)]
struct Mark {
    began_at: DateTime<Utc>,
    compared_until: DateTime<Utc>,
}

impl Job for WatchEvents {
    const KIND: Kind = WATCH_EVENTS;
}

impl Pure for WatchEvents {
    type Facts = Facts;

    async fn gather(db: &mut PgConnection, jobs: &[Self]) -> Result<Vec<Facts>, sqlx::Error> {
        let mark = sqlx::query_as!(Mark, "SELECT began_at, compared_until FROM bursar.event_watch")
            .fetch_optional(&mut *db)
            .await?;
        let walking = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM apalis.jobs j WHERE j.job_type = 'read_events' AND j.status = 'Pending')
                   OR EXISTS (SELECT FROM apalis.jobs j WHERE j.job_type = 'read_events' AND j.status = 'Running') AS "walking!""#
        )
        .fetch_one(&mut *db)
        .await?;
        let now = clock::business(db).await?;
        Ok(vec![Facts { mark, walking, now }; jobs.len()])
    }

    fn run(&self, facts: &Facts, terms: &Terms) -> Result<Effects, JobError> {
        if !terms.stripe_on {
            return Ok(Effects::skip("Stripe is off: what is missed meanwhile is looked for once it is on"));
        }
        let now = facts.now;
        let Some(mark) = &facts.mark else {
            let changes: Vec<AnyChange> = vec![Change::BeginWatch(now).into()];
            return Ok(Effects {
                changes,
                ..Effects::skip("the watch begins now: what happened before is not looked for")
            });
        };
        let mut follow_ups: Vec<NewJob> = warning(mark.compared_until, now).into_iter().collect();
        if facts.walking {
            let outcome = Outcome::Skip("an earlier walk through Stripe's events is still under way".into());
            return Ok(Effects { outcome, follow_ups, ..Effects::done() });
        }
        let from = (mark.compared_until - OVERLAP).max(mark.began_at).max(now - LISTED);
        follow_ups.push(ReadEvents::walk(now, from));
        Ok(Effects { follow_ups, ..Effects::done() })
    }
}

/// What the team is told of a mark that is old: the gravest, once for each mark.
fn warning(compared_until: DateTime<Utc>, now: DateTime<Utc>) -> Option<NewJob> {
    let behind = now - compared_until;
    let (_, limit, advice) = WARN.into_iter().find(|(age, ..)| behind >= *age)?;
    let until = compared_until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let data = json!({
        "compared_until": until,
        "behind_hours": behind.num_hours(),
        "limit": limit,
        "hint": format!("Stripe's events were not compared with the inbox since then: {advice}. See `bursar events gaps`, and dead jobs \
                         of the kind read_events."),
    });
    Some(NotifyTeam::of("events.behind", &format!("events.behind:{limit}:{until}"), &data, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_team_is_told_before_each_of_stripes_limits_runs_out() {
        let mark: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        let said = |hours| warning(mark, mark + TimeDelta::hours(hours)).map(|job| job.key);
        assert_eq!(said(59), None);
        assert_eq!(said(60).as_deref(), Some("events.behind:3 days:2026-11-01T00:00:00Z"));
        assert_eq!(said(71), said(60), "the same key: once");
        assert_eq!(said(25 * 24).as_deref(), Some("events.behind:30 days:2026-11-01T00:00:00Z"));
        assert_eq!(said(30 * 24).as_deref(), Some("events.behind:lost:2026-11-01T00:00:00Z"));
    }
}
