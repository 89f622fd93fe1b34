//! Listening for wake-ups. A worker without this one polls; with it, an idle worker starts a job within milliseconds.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use crate::stop::Stop;

/// `bursar.wake()` sends nothing within 20 ms of another wake-up; a little more, for the commit.
pub const DEBOUNCE: Duration = Duration::from_millis(25);
/// The wait before listening again after the connection broke.
const AGAIN: Duration = Duration::from_secs(1);

/// Passes on every wake-up until stop is said, over a connection of its own.
pub async fn listen(url: String, wakes: Arc<Notify>, stop: Stop) {
    while !stop.is_said() {
        if let Err(error) = heed(&url, &wakes).await {
            tracing::debug!(%error, "not listening; polling meanwhile");
        }
        // What was enqueued while nobody listened.
        wakes.notify_one();
        tokio::select! {
            () = stop.wait() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn heed(url: &str, wakes: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen("bursar_jobs").await?;
    loop {
        // None: the connection broke and was made again; something may have been missed.
        listener.try_recv().await?;
        wakes.notify_one();
    }
}
