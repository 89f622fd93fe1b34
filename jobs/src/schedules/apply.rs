//! Ticks of schedules.

use crate::{
    engine::{change::changes, domain::ApplyContext},
    schedules::change::Change,
};

/// Makes the changes of a batch that concern schedules.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let all: Vec<(usize, &Change)> = changes(context.batch, Some);
    for (owner, Change::TickSchedule { name, next_at, fired }) in all {
        sqlx::query!(
            "UPDATE bursar.schedule SET next_at = $2, last_at = coalesce($3, last_at) WHERE name = $1",
            name,
            *next_at,
            *fired
        )
        .execute(&mut *context.db)
        .await?;
        context.verdicts[owner].new = true;
    }
    Ok(())
}
