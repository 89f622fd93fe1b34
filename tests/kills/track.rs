//! The points that calls reach, and the one at which somebody dies.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use bursar_jobs::engine::context::Points;
use sqlx::PgPool;
use tokio::sync::Notify;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Database,
    Worker,
}

/// A point, and the how manieth time that a kind of job reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub kind: String,
    pub name: &'static str,
    pub time: usize,
}

/// Who dies where.
#[derive(Debug, Clone)]
pub struct Kill {
    pub victim: Victim,
    /// Among the points of the first run, from 0.
    pub place: usize,
    pub point: Point,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { victim, point, .. } = self;
        write!(f, "{victim:?} killed at {} of {}, time {}", point.name, point.kind, point.time)
    }
}

impl Kill {
    /// Whether the worker died who alone knew that a letter was taken.
    pub fn forgets_an_answer(&self) -> bool {
        self.victim == Victim::Worker && self.point.kind == "send_letter" && self.point.name == "after_request"
    }
}

#[derive(Default)]
struct State {
    counting: bool,
    reached: Vec<Point>,
    kill: Option<Kill>,
}

/// Counts points, and stops at one.
#[derive(Default)]
pub struct Track {
    state: Mutex<State>,
    hit: Notify,
    go: Notify,
}

impl Track {
    /// From now on points count.
    pub fn arm(&self, kill: Option<Kill>) {
        *self.state.lock().unwrap() = State { counting: true, reached: Vec::new(), kill };
    }

    pub fn reached(&self) -> Vec<Point> {
        self.state.lock().unwrap().reached.clone()
    }

    /// Waits until the point is reached at which somebody is to die. Whoever reached it stands still there.
    pub async fn hit(&self) {
        self.hit.notified().await;
    }

    /// Lets whoever stands there go on.
    pub fn go_on(&self) {
        self.go.notify_one();
    }

    /// For a worker over this pool that runs one job at a time.
    pub fn points(self: &Arc<Self>, pool: &PgPool) -> Points {
        let (track, pool) = (Arc::clone(self), pool.clone());
        Points(Some(Arc::new(move |name| {
            let (track, pool) = (Arc::clone(&track), pool.clone());
            Box::pin(async move { track.reach(name, &pool).await })
        })))
    }

    async fn reach(&self, name: &'static str, pool: &PgPool) {
        if !self.state.lock().unwrap().counting {
            return;
        }
        let kind: String =
            sqlx::query_scalar("SELECT string_agg(kind, ' and ') FROM bursar.job WHERE state = 'running'")
                .fetch_one(pool)
                .await
                .unwrap();
        let dies = {
            let mut state = self.state.lock().unwrap();
            let time = 1 + state.reached.iter().filter(|point| point.kind == kind && point.name == name).count();
            let here = Point { kind, name, time };
            let dies = state.kill.take_if(|kill| kill.point == here).map(|kill| kill.victim);
            // What is repeated after a death is no point of the scene, and the database may be away.
            state.counting = dies.is_none();
            state.reached.push(here);
            dies
        };
        if let Some(victim) = dies {
            self.hit.notify_one();
            match victim {
                Victim::Database => self.go.notified().await,
                Victim::Worker => std::future::pending().await,
            }
        }
    }
}
