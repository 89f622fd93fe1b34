//! `bursar events replay`: an event's job runs again.

use bursar_jobs::desk::replay::{self, Refused};
use sqlx::PgConnection;

use super::not_found;
use crate::operate::{Failure, Screen, values::at_keyboard};

pub(super) async fn replay(db: &mut PgConnection, screen: &Screen, id: &str, why: Option<&str>) -> Result<(), Failure> {
    let replayed = replay::replay(db, &at_keyboard(), id, why).await.map_err(|refused| {
        let said = refused.to_string();
        match refused {
            Refused::Unknown(id) => not_found(&id),
            Refused::Pruned(id) => Failure::refused(said, format!("see what it caused: bursar events show {id}")),
            Refused::Unreadable(id, _) => Failure::refused(said, format!("look at its body: bursar events show {id}")),
            Refused::Under { job, .. } => {
                Failure::refused(said, format!("see when and why it runs: bursar jobs show {job}"))
            }
            Refused::Vanished(_) => Failure::refused(said, "the same command now makes a new one"),
            Refused::Database(error) => error.into(),
        }
    })?;
    for done in replayed {
        let how = done.was.map_or_else(|| "new".to_owned(), |was| format!("was {}", was.word()));
        screen.done(&done, &format!("{} {} ({how}) runs again for event {id}", done.kind, done.job))?;
    }
    Ok(())
}
