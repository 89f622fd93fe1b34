//! The backend that apalis polls: the far end of a channel into which the claimer puts what can start at once.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use apalis::prelude::{Backend, Task, TaskBuilder, TaskId, WorkerContext};
use apalis_core::backend::{BackendConfig, finalize::Ephemeral};
use bursar_jobs::engine::job::Batch;
use tokio::sync::mpsc;
use tower_layer::Identity;

use super::claimer::Slot;

/// A claimed batch and the room it runs in; the room is free again once this is dropped.
#[derive(Debug)]
pub struct Claim {
    /// What was claimed.
    pub batch: Batch,
    /// Held while it runs.
    pub slot: Slot,
}

/// The backend's end.
#[derive(Debug)]
pub struct Claims(mpsc::UnboundedReceiver<Claim>);

/// A channel from the claimer to apalis. It needs no bound of its own: the claimer holds a [`Slot`] for whatever it sends.
pub fn channel() -> (mpsc::UnboundedSender<Claim>, Claims) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Claims(receiver))
}

impl Claims {
    /// A backend without a claimer, which ends at once.
    pub fn closed() -> Self {
        channel().1
    }
}

impl Backend for Claims {
    type Task = Task<Claim>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<Claim>, Infallible>>> {
        self.0.poll_recv(cx).map(|claim| {
            let Some(claim) = claim else {
                // The end of the backend alone leaves apalis waiting: its worker must also be told to stop. It then waits for the
                // tasks in flight. An error would mean that it had not started, or had stopped before.
                if let Err(error) = worker.stop() {
                    tracing::debug!(%error, "apalis's worker was not running");
                }
                return None;
            };
            let id = TaskId::from_string(claim.batch.lease.to_string());
            Some(Ok(TaskBuilder::new(claim).task_id(id).build()))
        })
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Claims {
    type Args = Claim;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
