//! What letters were asked for.

use crate::{
    clawbacks::change::Change,
    engine::{change::changes, domain::ApplyContext},
};

/// Makes the changes of a batch that concern letters.
pub(crate) async fn apply(context: &mut ApplyContext<'_>) -> Result<(), sqlx::Error> {
    let (db, batch, verdicts) = (&mut *context.db, context.batch, &mut context.verdicts);
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
