//! The database and the worker killed between every two steps of a payout, a reversal, a case of dunning and a letter.
//!
//! A first run counts the named points that its calls reach. Then, for each of them, everything begins anew, and PostgreSQL is killed
//! there: it is gone when the call goes on, and comes back by itself a moment later. Then the same with the worker, whose lease must
//! run out before a successor finds what it left. In the end the sandbox and the books must say what they say when nobody dies.

mod scenes;
mod server;
mod track;
mod world;

use std::{any::Any, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};

use self::{
    scenes::{Dunning, Letter, Payout, Reversal, Scene},
    server::Server,
    track::{Kill, Point, Victim},
    world::World,
};

/// What every call passes.
const POINTS: [&str; 4] = ["before_intent", "after_intent", "after_request", "before_settlement"];
/// Worlds whose workers die side by side: each mostly waits for a lease to run out.
const SIDE_BY_SIDE: usize = 8;

/// Plays a scene once, with somebody killed on the way or nobody. Returns the points that it reached.
async fn play<S: Scene>(server: &Server, kill: Option<Kill>) -> Vec<Point> {
    let world = World::new(server).await;
    let scene = S::prepare(&world).await;
    world.track.arm(kill.clone());
    tokio::join!(scene.play(&world), world.suffer(server, kill.as_ref()));
    scene.check(&world, kill.as_ref()).await;
    world.is_sound(kill.as_ref()).await;
    let reached = world.track.reached();
    world.end(server).await;
    reached
}

/// Plays it in a task of its own, so that whatever fails there names the point.
async fn named<S: Scene>(server: Arc<Server>, kill: Kill, of: usize) {
    let case = format!("{kill} ({} of {of})", kill.place + 1);
    let played = tokio::spawn(async move { play::<S>(&server, Some(kill)).await }).await;
    if let Err(error) = played {
        let said = error.try_into_panic().map_or_else(|error| error.to_string(), |panic| words(&*panic));
        panic!("{case}: {said}");
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Plays a scene with nobody killed, and then with each victim killed at each of its points. `lanes` servers are killed side by side.
async fn killed_everywhere<S: Scene>(lanes: usize) {
    let server = Arc::new(Server::start().await);
    let begun = std::time::Instant::now();
    let points = play::<S>(&server, None).await;
    println!("{} points in {:?}: {points:?}", points.len(), begun.elapsed());
    for kind in S::KINDS {
        let passed: Vec<&str> = points.iter().filter(|point| point.kind == *kind).map(|point| point.name).collect();
        assert!(POINTS.iter().all(|point| passed.contains(point)), "{kind} passed {passed:?}");
    }
    let points: Vec<Point> = points.into_iter().filter(|point| S::KINDS.contains(&point.kind.as_str())).collect();
    let of = points.len();
    let kill = |victim| {
        points.iter().cloned().enumerate().map(move |(place, point)| Kill { victim, place, point }).collect::<Vec<_>>()
    };

    let mut lanes_of_kills = vec![Vec::new(); lanes];
    for (i, kill) in kill(Victim::Database).into_iter().enumerate() {
        lanes_of_kills[i % lanes].push(kill);
    }
    let mut running = JoinSet::new();
    for kills in lanes_of_kills {
        running.spawn(async move {
            let server = Arc::new(Server::start().await);
            for kill in kills {
                named::<S>(Arc::clone(&server), kill, of).await;
            }
        });
    }
    let room = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    for kill in kill(Victim::Worker) {
        let (server, room) = (Arc::clone(&server), Arc::clone(&room));
        running.spawn(async move {
            let _room = room.acquire().await.expect("nobody closes it");
            named::<S>(server, kill, of).await;
        });
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    println!("played {} times in {:?}", 1 + 2 * of, begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_killed_between_every_two_steps_is_paid_once() {
    killed_everywhere::<Payout>(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_killed_between_every_two_steps_takes_back_once() {
    killed_everywhere::<Reversal>(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_of_dunning_killed_between_every_two_steps_tries_pauses_and_writes_once() {
    killed_everywhere::<Dunning>(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_killed_between_every_two_steps_is_sent_once_but_where_its_answer_is_lost() {
    killed_everywhere::<Letter>(1).await;
}
