//! A call whose turn has not come: its attempt ends, costs nothing, and the job waits in the queue instead of under its deadline.

use std::time::Duration;

use bursar_stripe::Seen;

use super::{
    Call,
    driver::{End, Run},
};
use crate::{
    base::db,
    engine::{
        backoff,
        call::intent::{self, Begun},
        settle::{Settlement, settle},
    },
};

/// Added at random, so that those who were sent away together do not come back together.
const SPREAD: Duration = Duration::from_secs(1);

impl<J: Call> Run<'_, J> {
    /// Settles what never left, for `wait`. What was decided stands as after a crash before the request.
    pub(super) async fn wait_for_turn(&self, call: Begun, seen: &Seen, wait: Duration) -> Result<End, sqlx::Error> {
        let settlement = Settlement::of_turn(self.claimed, wait + SPREAD.mul_f64(backoff::jitter()));
        let mut tx = db::begin(&self.context.pool).await?;
        intent::end_call(&mut tx, call.id, seen).await?;
        let settled = settle(&mut *tx, self.batch, std::slice::from_ref(&settlement)).await?;
        if settled.is_empty() {
            tx.rollback().await?;
        } else {
            tx.commit().await?;
        }
        Ok(End::of(settlement, &settled))
    }
}
