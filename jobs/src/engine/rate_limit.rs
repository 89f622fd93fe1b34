//! Turns: the rate at which all processes of a deployment together send to Stripe. The gate before Stripe's client.
//!
//! Rules
//! - Turns are spaced evenly at four fifths of Stripe's limit: what the way and a batch's age shift about stays within the limit in any
//!   second, and something is left for the dashboard and the application, whose requests count too. There is no burst.
//! - The database hands them out (`bursar.take_turns`), by its own clock. A process that is busy takes up to a tenth of a second's worth at
//!   a time; a turn that is not used within a tenth of a second is lost.
//! - Lanes: see [`Lane`] and [`kind::lane_of`](crate::engine::kind::lane_of). A lane's rank is how far ahead it may book.
//! - A 429 stops all processes for as long as Stripe says, and a second where it does not.
//! - Without the database a process sends a tenth of the rate by itself: a limiter fails no job.

use std::{
    collections::VecDeque,
    sync::{Mutex as Short, PoisonError},
    time::{Duration, Instant},
};

use bursar_stripe::{Gate, Lane, Later};
use sqlx::PgPool;
use tokio::{
    sync::Mutex,
    time::{sleep, sleep_until, timeout},
};

use crate::base::clock;

/// How long after its moment a turn may be used, and the time that a batch of turns may span.
const KEPT: Duration = Duration::from_millis(100);
/// The database answers within this, or is not waited for.
const ANSWER: Duration = Duration::from_millis(500);
/// Without a word of Stripe's about how long.
const HOLD: Duration = Duration::from_secs(1);
/// Nobody stops everyone for longer than this.
const LONGEST_HOLD: Duration = Duration::from_mins(5);
/// A turn that was waited for at least this long is looked at again before it is used: Stripe may have said stop meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a job waits within its attempt, while its deadline runs; longer, and it waits in the queue.
const fn patience(lane: Lane) -> Duration {
    match lane {
        Lane::Money => Duration::from_secs(5),
        Lane::People => Duration::from_secs(4),
        Lane::Ordinary => Duration::from_secs(3),
        Lane::Bulk => Duration::from_secs(1),
    }
}

/// The gate of one process.
#[derive(Debug)]
pub struct Turns {
    pool: PgPool,
    gap: Duration,
    /// By lane. One of its waiters at a time asks the database, for those behind it too.
    lanes: [Mutex<Taken>; 4],
    held_until: Short<Option<Instant>>,
    /// When the next one may leave without the database's word.
    alone: Short<Option<Instant>>,
}

/// Turns taken and not used yet.
#[derive(Debug, Default)]
struct Taken {
    turns: VecDeque<Instant>,
    /// How many were taken last.
    batch: u32,
    /// When the last one is lost.
    fresh_until: Option<Instant>,
}

/// What the database said.
enum Said {
    /// The first in so long, and how many.
    Turns(Duration, u32),
    /// None before this.
    Wait(Duration),
}

impl Turns {
    /// For a deployment whose limit at Stripe is so many requests a second; at least one.
    pub fn new(pool: PgPool, limit: u32) -> Self {
        let gap = Duration::from_secs(1).mul_f64(1.25) / limit.max(1);
        Self { pool, gap, lanes: Default::default(), held_until: Short::new(None), alone: Short::new(None) }
    }

    async fn wait(&self, lane: Lane) -> Result<(), Duration> {
        let begun = clock::monotonic();
        let patience = patience(lane);
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let turn = match timeout(left, self.book(lane, begun + patience)).await {
                Ok(turn) => turn?,
                // Others of this process stand before it.
                Err(_) => return Err(patience),
            };
            let wait = turn.saturating_duration_since(clock::monotonic());
            sleep_until(turn.into()).await;
            if wait < LOOK_AGAIN || !self.is_held().await {
                return Ok(());
            }
        }
    }

    /// A turn, which may still be to come; or how long there will be none, where that is longer than `until`.
    async fn book(&self, lane: Lane, until: Instant) -> Result<Instant, Duration> {
        let mut taken = self.lanes[lane as usize].lock().await;
        loop {
            let now = clock::monotonic();
            let held = self.held_until(now);
            if held.is_zero() {
                if let Some(turn) = taken.next(now) {
                    return Ok(turn);
                }
            } else {
                taken.turns.clear();
            }
            let wait = if held.is_zero() {
                match self.ask(lane, taken.wanted(now, self.most())).await {
                    Some(Said::Turns(first, count)) => {
                        taken.keep(clock::monotonic() + first, self.gap, count);
                        continue;
                    }
                    Some(Said::Wait(wait)) => wait,
                    None => return self.alone(until),
                }
            } else {
                held
            };
            if clock::monotonic() + wait > until {
                return Err(wait);
            }
            sleep(wait).await;
        }
    }

    /// No batch spans more than the time that a turn keeps.
    fn most(&self) -> u32 {
        u32::try_from(KEPT.as_micros() / self.gap.as_micros().max(1)).unwrap_or(u32::MAX).max(1)
    }

    async fn ask(&self, lane: Lane, wanted: u32) -> Option<Said> {
        let asked = sqlx::query!(
            r#"SELECT granted AS "granted!", in_us AS "in_us!" FROM bursar.take_turns($1, $2, $3)"#,
            lane.word(),
            i32::try_from(wanted).unwrap_or(i32::MAX),
            i64::try_from(self.gap.as_micros()).unwrap_or(i64::MAX),
        )
        .fetch_one(&self.pool);
        match timeout(ANSWER, asked).await {
            Ok(Ok(row)) => {
                let length = Duration::from_micros(row.in_us.unsigned_abs());
                let count = row.granted.unsigned_abs();
                Some(if count == 0 { Said::Wait(length) } else { Said::Turns(length, count) })
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "no turns from the database: sending a tenth of the rate");
                None
            }
            Err(_) => None,
        }
    }

    /// Without the database.
    fn alone(&self, until: Instant) -> Result<Instant, Duration> {
        let mut next = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        let turn = next.map_or(now, |next| next.max(now));
        if turn > until {
            return Err(turn - now);
        }
        *next = Some(turn + self.gap * 10);
        Ok(turn)
    }

    /// How long this process knows that nobody may send.
    fn held_until(&self, now: Instant) -> Duration {
        let held = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        held.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    async fn is_held(&self) -> bool {
        if !self.held_until(clock::monotonic()).is_zero() {
            return true;
        }
        let asked = sqlx::query_scalar!(r#"SELECT bursar.turns_are_held() AS "held!""#).fetch_one(&self.pool);
        matches!(timeout(ANSWER, asked).await, Ok(Ok(true)))
    }

    async fn hold(&self, after: Option<Duration>) {
        let wait = after.unwrap_or(HOLD).min(LONGEST_HOLD);
        {
            let mut held = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
            let until = clock::monotonic() + wait;
            *held = Some(held.map_or(until, |held| held.max(until)));
        }
        tracing::warn!(?wait, "Stripe says that it is too much: nobody sends for so long");
        let say = sqlx::query!("SELECT bursar.hold_turns($1)", i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
            .execute(&self.pool);
        if !matches!(timeout(ANSWER, say).await, Ok(Ok(_))) {
            tracing::warn!("the other processes could not be told that it is too much");
        }
    }
}

impl Gate for Turns {
    fn turn(&self, lane: Lane) -> Later<'_, Result<(), Duration>> {
        Box::pin(self.wait(lane))
    }

    fn limited(&self, after: Option<Duration>) -> Later<'_, ()> {
        Box::pin(self.hold(after))
    }
}

impl Taken {
    /// The next turn that is not lost yet.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        while let Some(turn) = self.turns.pop_front() {
            if now <= turn + KEPT {
                return Some(turn);
            }
        }
        None
    }

    fn keep(&mut self, first: Instant, gap: Duration, count: u32) {
        self.turns.extend((0..count).map(|nth| first + gap * nth));
        self.fresh_until = self.turns.back().map(|last| *last + KEPT);
        self.batch = count;
    }

    /// Twice as many as before while all of those were used in time; else one.
    fn wanted(&self, now: Instant, most: u32) -> u32 {
        if self.fresh_until.is_some_and(|until| now <= until) { (self.batch * 2).clamp(1, most) } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_takes_more_at_once_and_an_idle_one_a_single_turn() {
        let (now, gap) = (clock::monotonic(), Duration::from_millis(10));
        let mut taken = Taken::default();
        assert_eq!(taken.wanted(now, 8), 1);
        taken.keep(now, gap, 4);
        assert_eq!(taken.wanted(now, 8), 8);
        assert_eq!(taken.wanted(now, 5), 5);
        assert_eq!(taken.wanted(now + gap * 3 + KEPT * 2, 8), 1);
    }

    #[test]
    fn a_turn_that_was_not_used_is_lost() {
        let (now, gap) = (clock::monotonic(), Duration::from_millis(30));
        let mut taken = Taken::default();
        taken.keep(now, gap, 3);
        assert_eq!(taken.next(now), Some(now));
        assert_eq!(taken.next(now + gap + KEPT + Duration::from_millis(1)), Some(now + gap * 2));
        assert_eq!(taken.next(now), None);
    }
}
