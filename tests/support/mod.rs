//! What every test stands on: a database of its own, the built program, and waiting without sleeping.

pub mod database;
pub mod program;

pub use database::{Database, begin_at, database, duplicate};
pub use program::{Child, bursar, probe_program, scratch};

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// Asks again until the answer is `Ok`, at most as long as `deadline`, and returns what it held. Panics with the last `Err`, which
/// therefore says what was seen instead: `Err(format!("{count} jobs are still running"))`.
#[track_caller]
pub fn eventually<T, E, F>(deadline: Duration, mut ask: impl FnMut() -> F) -> impl Future<Output = T>
where
    E: Debug,
    F: Future<Output = Result<T, E>>,
{
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(seen) if begun.elapsed() >= deadline => {
                    panic!("{caller}: not within {deadline:?}; seen last: {seen:?}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}
