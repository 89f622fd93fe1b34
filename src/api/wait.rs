//! Waiting for a worker, within bounds. By looking: a pooler may stand before the database, and LISTEN needs a connection of its own.

use std::{future::Future, time::Duration};

use bursar_jobs::base::clock;

/// The first pause; each is longer than the one before it.
const FIRST: Duration = Duration::from_millis(15);
/// The longest.
const LONGEST: Duration = Duration::from_millis(250);

/// Looks until there is something; none when there was not in time.
pub(super) async fn until<T, F>(patience: Duration, mut look: impl FnMut() -> F) -> Result<Option<T>, sqlx::Error>
where
    F: Future<Output = Result<Option<T>, sqlx::Error>>,
{
    let begun = clock::monotonic();
    let mut pause = FIRST;
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if begun.elapsed() + pause > patience {
            return Ok(None);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST);
    }
}
