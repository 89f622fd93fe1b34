//! Stopping in good order: one word to every part of a process that it should take no more and finish what it has.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The hand that says stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// The ear that hears it. Cheap to clone; also hears when the [`Stopper`] is dropped.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// A new pair.
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Says stop. Saying it twice is saying it once.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Waits until stop is said.
    pub async fn wait(&self) {
        let mut heard = self.0.clone();
        // An error means that the Stopper is gone, which says the same.
        drop(heard.wait_for(|stop| *stop).await);
    }

    /// Whether stop has been said.
    pub fn is_said(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// Waits for SIGTERM (a deploy) or SIGINT (Ctrl-C).
pub async fn signalled() -> std::io::Result<()> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
