//! What the parts around the world share: the world, and the word that everything is to end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::{
    clock,
    deliveries::Delivery,
    message::{Reply, Request},
    world::World,
};

/// The world, and the way to its deliverer.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    /// Changes when there is something new for those who listen.
    news: watch::Sender<u64>,
}

impl Shared {
    pub fn new(world: World, deliveries: mpsc::UnboundedSender<Delivery>) -> Self {
        Self { world: Mutex::new(world), deliveries, news: watch::Sender::new(0) }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        // A panic in a handler must not take the rest of the world with it.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn handle(&self, request: &Request) -> Reply {
        self.change(|world| world.handle(clock::now(), request))
    }

    /// Told of what is new for those who listen.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Changes the world, and sends off what that causes.
    pub fn change<T>(&self, how: impl FnOnce(&mut World) -> T) -> T {
        let (reply, outbox, mark) = {
            let mut world = self.world();
            (how(&mut world), world.take_outbox(), world.sessions.mark())
        };
        self.news.send_if_modified(|seen| std::mem::replace(seen, mark.max(*seen)) < mark);
        for delivery in outbox {
            // Nobody listens any more only while everything stops.
            self.deliveries.send(delivery).unwrap_or_default();
        }
        reply
    }
}

/// Heard by every part that is to end; also when whoever says it is gone.
pub(super) type Stop = watch::Receiver<bool>;

pub(super) async fn stopped(mut stop: Stop) {
    // An error means that the sender is gone, which says the same.
    drop(stop.wait_for(|said| *said).await);
}
