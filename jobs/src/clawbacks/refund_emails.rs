//! What letters were asked for.

use sqlx::PgConnection;

use crate::engine::apply::{Change, Verdict, changes};
use crate::engine::job::Effects;

/// Makes the changes of a batch that concern letters.
pub(crate) async fn apply(
    db: &mut PgConnection,
    batch: &[Effects],
    verdicts: &mut [Verdict],
) -> Result<(), sqlx::Error> {
    let refunds = changes(batch, |change| match change {
        Change::NoteRefundLetter { id } => Some(id.clone()),
        _ => None,
    });
    if refunds.is_empty() {
        return Ok(());
    }
    let (owners, ids): (Vec<usize>, Vec<String>) = refunds.into_iter().unzip();
    sqlx::query!("UPDATE bursar.refund SET letter_at = bursar.now() WHERE id = ANY ($1) AND letter_at IS NULL", &ids)
        .execute(db)
        .await?;
    for owner in owners {
        verdicts[owner].new = true;
    }
    Ok(())
}
