//! Everything that can happen next, by the machines as production runs them or as a mutation bends them.

use bursar_jobs::{
    engine::call::machine::{self, Begin, Beginning, Do, Heard, Matter},
    payouts::state::{self, Act, Seen, State},
};

use crate::{
    rules::{Label, Rules, ill, well},
    world::{Bound, Db, GENERATIONS, IDLE, Job, Kept, Key, Step, UNCOMMITTED, Word, Worker, World},
};

/// Index of a generation's key.
fn index(generation: i32) -> usize {
    usize::try_from(generation - 1).unwrap()
}

/// All that can happen next. None: it is not looked behind this world, for it needs more generations than are followed.
pub fn next(here: &World, rules: &Rules, bound: &Bound) -> Option<Vec<(Label, World)>> {
    let mut out = Vec::new();
    let busy = here.workers.iter().filter(|worker| worker.step != Step::Idle).count();
    for w in 0..here.workers.len() {
        if here.workers[w].step != Step::Idle || busy < bound.workers {
            work(here, w, rules, bound, &mut out)?;
        }
    }
    surroundings(here, rules, &mut out);
    operator(here, rules, bound, &mut out);
    Some(out)
}

fn work(here: &World, w: usize, rules: &Rules, bound: &Bound, out: &mut Vec<(Label, World)>) -> Option<()> {
    let worker = here.workers[w];
    let mut push = |label: Label, next: World| out.push((label, next));
    match worker.step {
        Step::Idle => {
            for slot in 0..bound.jobs {
                if here.db.jobs[slot] == Job::Ready {
                    let mut next = *here;
                    next.db.jobs[slot] = Job::Running;
                    let slot = u8::try_from(slot).unwrap();
                    next.workers[w] = Worker { slot, owns: true, ..IDLE };
                    push(well("a worker claims the job, and commits its first transaction"), decide(&next, w, rules)?);
                }
            }
            return Some(());
        }
        Step::Leaving => leave(here, w, out),
        Step::Looking => {
            let mut next = *here;
            let word = match next.stripe.transfers {
                0 => Word::Nothing,
                _ => Word::Made,
            };
            next.workers[w].step = Step::Looked(word);
            next.workers[w].bytes = next.stripe.moved;
            push(well(if word == Word::Made { "its look finds the Transfer" } else { "its look finds nothing" }), next);
        }
        Step::Looked(word) => push(well("its look is settled"), conclude(here, w, word, rules)),
        Step::Answered(word) => push(well("its answer is settled"), conclude(here, w, word, rules)),
    }
    let mut dies = *here;
    dies.workers[w] = IDLE;
    if worker.owns {
        dies.db.jobs[usize::from(worker.slot)] = Job::Ready;
    }
    out.push((ill("the worker dies, and its job is given back"), dies));
    if worker.owns {
        let mut swept = *here;
        swept.db.jobs[usize::from(worker.slot)] = Job::Ready;
        swept.workers[w].owns = false;
        out.push((ill("the worker is frozen, and its job given back"), swept));
    }
    Some(())
}

/// The first transaction.
fn decide(here: &World, w: usize, rules: &Rules) -> Option<World> {
    let mut next = *here;
    let worker = here.workers[w];
    let slot = usize::from(worker.slot);
    let db = &mut next.db;
    let mut ends = |db: &mut Db, job: Job| {
        db.jobs[slot] = job;
        next.workers[w] = IDLE;
    };
    let Some(was) = db.payout else {
        ends(db, Job::None);
        return Some(next);
    };
    let (state, act) = (rules.turn)(was, Seen::Begins { ready: db.active });
    match act {
        Act::Send => {}
        Act::Hold => {
            db.payout = Some(state);
            ends(db, Job::None);
            return Some(next);
        }
        _ => {
            ends(db, Job::None);
            return Some(next);
        }
    }
    db.payout = Some(state);
    let seen = Beginning { young: here.fresh, same: db.bytes == db.intended, lost: db.lost > 0, rested: db.rested };
    let (matter, begin) = (rules.begin)(db.matter, seen);
    match begin {
        Begin::Send | Begin::Look => {
            let matter = matter.unwrap();
            if index(matter.generation) >= GENERATIONS {
                return None;
            }
            if !rules.commits_first && begin == Begin::Send {
                // The request leaves, and the database knows nothing.
                *db = here.db;
                next.workers[w] = Worker { step: Step::Leaving, then: Some(matter), bytes: db.bytes, ..worker };
                return Some(next);
            }
            let is_new = db.matter.is_none_or(|before| before.generation != matter.generation);
            if is_new {
                (db.lost, db.recent, db.flying, db.intended) = (0, false, false, db.bytes);
            }
            if db.matter != Some(matter) {
                db.rested = false;
            }
            db.matter = Some(matter);
            if begin == Begin::Send {
                (db.lost, db.flying) = ((db.lost + 1).min(2), true);
            }
            let (then, bytes) = (Some(matter), db.intended);
            next.committed[index(matter.generation)][usize::from(bytes)] = true;
            let step = if begin == Begin::Send { Step::Leaving } else { Step::Looking };
            next.workers[w] = Worker { step, then, bytes, ..worker };
        }
        Begin::Wait => ends(db, Job::Ready),
        Begin::Had => ends(db, Job::None),
        Begin::Changed => {
            // Its marks are not made.
            db.payout = Some(was);
            ends(db, Job::None);
        }
    }
    Some(next)
}

/// The request leaves, or not; and what can come of it.
fn leave(here: &World, w: usize, out: &mut Vec<(Label, World)>) {
    let worker = here.workers[w];
    let generation = worker.then.unwrap().generation;
    let key = index(generation);
    let of = |label: Label| Label { generation, ..label };
    let mut base = *here;
    if !here.committed[key][usize::from(worker.bytes)] {
        base.broken = Some(UNCOMMITTED);
    }
    let answered = |mut next: World, word: Word| {
        next.workers[w].step = Step::Answered(word);
        next
    };
    let mut done = base;
    let word = done.execute(key, worker.bytes);
    let said = match word {
        Word::Made => "its request is executed, or the same answer given again: a Transfer",
        Word::Refused(..) => "its request is refused, and the refusal saved",
        Word::SavedFailure => "its request is answered with the saved 500",
        _ => "its request meets its key with other bytes",
    };
    out.push((of(well(said)), answered(done, word)));
    if !base.stripe.account_active && base.stripe.keys[key].kept.is_none() {
        let refused = Word::Refused(state::Refusal::Account, false);
        out.push((
            of(well("its destination is gone: refused before it is executed, and not saved")),
            answered(base, refused),
        ));
    }
    if here.faults == 0 {
        return;
    }
    base.faults -= 1;
    done.faults -= 1;
    out.push((of(ill("its request is executed, and the answer lost")), answered(done, Word::Lost)));
    if base.stripe.under_way.iter().sum::<u8>() < 2 {
        let mut late = base;
        late.stripe.under_way[key] += 1;
        out.push((of(ill("its request is late, and it hears nothing")), answered(late, Word::Lost)));
    }
    out.push((
        of(ill("its request is refused, and that is not saved")),
        answered(base, Word::Refused(state::Refusal::Other, false)),
    ));
    out.push((of(ill("its request is not taken now (429)")), answered(base, Word::NotNow)));
    if base.stripe.keys[key].kept.is_none() {
        let mut failed = base;
        failed.stripe.keys[key] = Key { kept: Some((Kept::Failure, worker.bytes)), old: false };
        out.push((of(ill("a 500 without effect, saved")), answered(failed, Word::Lost)));
        let mut made = failed;
        made.stripe.transfers += 1;
        made.stripe.moved = worker.bytes;
        out.push((of(ill("a 500 with effect, saved")), answered(made, Word::Lost)));
        if !failed.stripe.brewing {
            failed.stripe.brewing = true;
            failed.stripe.moved = worker.bytes;
            out.push((of(ill("a 500 whose effect comes later, saved")), answered(failed, Word::SavedFailure)));
        }
    }
}

/// The second transaction.
fn conclude(here: &World, w: usize, word: Word, rules: &Rules) -> World {
    let mut next = *here;
    let worker = here.workers[w];
    next.workers[w] = IDLE;
    let slot = usize::from(worker.slot);
    if rules.fences && !worker.owns {
        return next;
    }
    let then = worker.then.unwrap();
    let (Some(was), Some(matter)) = (next.db.payout, next.db.matter) else { return next };
    let looked = matches!(worker.step, Step::Looked(_));
    let heard = match word.heard() {
        Heard::Made if worker.bytes != next.db.bytes || (rules.turn)(was, Seen::Made).1 != Act::Book => Heard::Unlike,
        Heard::Nothing { .. } => {
            let moved = Matter { young: matter.young, ..then } != matter;
            Heard::Nothing { moved, under_way: next.db.recent || next.db.flying }
        }
        heard => heard,
    };
    let (now, act) = (rules.hear)(matter, then.generation, heard);
    let db = &mut next.db;
    if now != matter {
        db.rested = false;
    }
    db.matter = Some(now);
    if !looked && then.generation == matter.generation {
        if db.lost == 1 {
            (db.lost, db.flying) = (0, false);
        }
        db.recent |= matches!(word, Word::Lost | Word::SavedFailure);
    }
    let turned = |seen| (rules.turn)(was, seen);
    let mut job = Job::None;
    match act {
        Do::Overtaken | Do::Dead => {}
        Do::Book => (db.payout, db.booked) = (Some(turned(Seen::Made).0), true),
        Do::Refuse { saved } => {
            let why = if let Word::Refused(why, _) = word { why } else { state::Refusal::Other };
            let (state, act) = turned(Seen::Refused { why, saved });
            db.payout = Some(state);
            match act {
                Act::Wait => job = Job::Ready,
                Act::Deactivate => db.active = false,
                _ => {}
            }
        }
        Do::Retry | Do::LookAgain(_) | Do::Raise => job = Job::Ready,
        Do::Unsure => (db.payout, job) = (Some(turned(Seen::NotKnown).0), Job::Ready),
        Do::Stop => db.payout = Some(turned(Seen::NotKnown).0),
        Do::Send => {
            (db.lost, db.flying) = ((db.lost + 1).min(2), true);
            next.workers[w] = Worker { step: Step::Leaving, then: Some(now), bytes: db.intended, ..worker };
            return next;
        }
    }
    db.jobs[slot] = job;
    next
}

/// Time, Stripe, the account, the marketplace, and those who keep the database.
fn surroundings(here: &World, rules: &Rules, out: &mut Vec<(Label, World)>) {
    let mut change = |label: Label, to: &dyn Fn(&mut World)| {
        let mut next = *here;
        to(&mut next);
        if next != *here {
            out.push((label, next));
        }
    };
    if here.db.payout.is_none() {
        change(well("the job is verified"), &|next| {
            next.db.payout = Some(State::Held);
            next.db.jobs[0] = Job::Ready;
        });
    }
    for key in 0..GENERATIONS {
        let of = |label: Label| Label { generation: i32::try_from(key).unwrap() + 1, ..label };
        if here.stripe.under_way[key] > 0 {
            change(of(well("a late request is executed")), &|next| {
                next.stripe.under_way[key] -= 1;
                // Whose bytes it has does not matter here: those of the key's intent.
                let bytes = !next.committed[key][0];
                next.execute(key, bytes);
            });
            change(of(well("a late request never arrives")), &|next| next.stripe.under_way[key] -= 1);
        }
        if here.stripe.keys[key].old {
            change(of(ill("Stripe forgets the key")), &|next| {
                next.stripe.keys[key] = Key::default();
                next.excused = true;
            });
        }
    }
    if here.stripe.brewing {
        change(well("the effect of the saved 500 shows"), &|next| {
            next.stripe.brewing = false;
            next.stripe.transfers += 1;
            next.excused = true;
        });
        change(well("the saved 500 turns out to have no effect"), &|next| next.stripe.brewing = false);
    } else if here.stripe.under_way.iter().all(|n| *n == 0) {
        change(well("an hour passes"), &|next| next.pass(false, rules.minds_lease));
        change(ill("a day passes"), &|next| next.pass(true, rules.minds_lease));
    }
    let (active, balance) = (here.stripe.account_active, here.stripe.balance);
    if !active {
        change(well("the account becomes active"), &|next| next.stripe.account_active = true);
    }
    if !balance {
        change(well("the platform has balance again"), &|next| next.stripe.balance = true);
    }
    if here.lapses > 0 {
        change(ill("the account stops being active"), &|next| {
            next.stripe.account_active = false;
            next.lapses -= 1;
        });
        change(ill("the platform's balance is spent"), &|next| {
            next.stripe.balance = false;
            next.lapses -= 1;
        });
    }
    change(well("we hear of the account"), &|next| {
        next.db.active = active;
        if active && next.db.payout == Some(State::Held) && next.db.jobs.iter().all(|job| *job == Job::None) {
            next.db.jobs[0] = Job::Ready;
        }
    });
    if here.changes > 0 {
        change(ill("the receiver gets another account"), &|next| {
            next.db.bytes = !next.db.bytes;
            next.changes -= 1;
        });
    }
    if here.dumps > 0 && here.db.payout.is_some() && here.dump.is_none() {
        change(ill("the database is dumped"), &|next| {
            next.dump = Some(next.db);
            next.dumps -= 1;
        });
    }
    if let Some(dump) = here.dump {
        change(ill("the database is restored from the dump"), &|next| {
            next.db = dump;
            next.dump = None;
            next.workers = [IDLE; 2];
            next.excused = true;
            for job in next.db.jobs.iter_mut().filter(|job| **job == Job::Running) {
                *job = Job::Ready;
            }
        });
    }
}

/// `bursar payouts release`, with and without `--after-saved-failure`, and `bursar jobs cancel`.
fn operator(here: &World, rules: &Rules, bound: &Bound, out: &mut Vec<(Label, World)>) {
    let Some(was) = here.db.payout else { return };
    let live = here.db.jobs.iter().any(|job| *job != Job::None);
    let free = (0..bound.jobs).find(|slot| here.db.jobs[*slot] == Job::None);
    if let (Some(slot), (state, Act::Enqueue)) = (free, (rules.turn)(was, Seen::Released)) {
        let mut next = *here;
        next.db.payout = Some(state);
        next.db.jobs[slot] = Job::Ready;
        out.push((well("the operator releases it"), next));
        let raised = here.db.matter.and_then(machine::raise);
        if let (Some(matter), false, false) = (raised, live, here.stripe.brewing) {
            next.db.matter = Some(matter);
            next.db.rested = false;
            out.push((well("the operator releases it after the saved failure"), next));
        }
    }
    for slot in 0..bound.jobs {
        if here.db.jobs[slot] != Job::None {
            let mut next = *here;
            next.db.jobs[slot] = Job::None;
            for worker in next.workers.iter_mut().filter(|worker| usize::from(worker.slot) == slot) {
                worker.owns = false;
            }
            out.push((ill("the operator cancels the job"), next));
        }
    }
}
