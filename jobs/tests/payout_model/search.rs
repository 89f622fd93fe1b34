//! Breadth first over everything that can happen; then backwards from the ends.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    moves::next,
    rules::{Label, Rules},
    world::{Bound, World},
};

/// A hash that is quick in a build without optimisation (FxHash's step); nobody chooses these states against us.
#[derive(Default)]
pub struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_isize(&mut self, n: isize) {
        self.write_u64(n.cast_unsigned() as u64);
    }
    fn write_i32(&mut self, n: i32) {
        self.write_u64(u64::from(n.cast_unsigned()));
    }
}

/// There is no way that helps to an end.
pub const STUCK: &str = "it can never end paid, held or rejected";

/// What a search came to.
pub struct Found {
    /// How many worlds were seen.
    pub worlds: usize,
    /// What is wrong, and the shortest way there.
    pub wrong: Option<(&'static str, Vec<(Label, World)>)>,
}

/// Everything that can be reached within the bound.
pub fn search(rules: &Rules, bound: &Bound) -> Found {
    let mut worlds = vec![World::new(bound)];
    let mut seen: HashMap<World, u32, BuildHasherDefault<Quick>> = HashMap::default();
    seen.insert(worlds[0], 0);
    let mut came: Vec<(u32, Label)> = vec![(0, Label { what: "nothing", generation: 0, helps: true })];
    // Of each world, those from which a step that helps leads here; and those at an end, or where nobody looks on.
    let mut before: Vec<(u32, u32)> = Vec::new();
    let mut ended = vec![false];
    let mut at = 0;
    while at < worlds.len() {
        assert!(worlds.len() < 1_000_000, "more worlds than a test should look at: make the bound smaller");
        let here = u32::try_from(at).unwrap();
        let world = worlds[at];
        if let Some(wrong) = world.wrong() {
            return Found { worlds: worlds.len(), wrong: Some((wrong, path(&worlds, &came, at))) };
        }
        ended[at] = world.is_ended();
        match next(&world, rules, bound) {
            None => ended[at] = true,
            Some(steps) => {
                for (label, then) in steps {
                    let then = then.canonical(rules.fences);
                    let index = *seen.entry(then).or_insert_with(|| {
                        worlds.push(then);
                        came.push((here, label));
                        ended.push(false);
                        u32::try_from(worlds.len() - 1).unwrap()
                    });
                    if label.helps && index != here {
                        before.push((index, here));
                    }
                }
            }
        }
        at += 1;
    }
    let wrong = stuck(&worlds, before, ended).map(|at| (STUCK, path(&worlds, &came, at)));
    Found { worlds: worlds.len(), wrong }
}

/// The first world from which no steps that help lead to an end.
fn stuck(worlds: &[World], mut before: Vec<(u32, u32)>, mut good: Vec<bool>) -> Option<usize> {
    before.sort_unstable();
    let mut todo: Vec<u32> = (0..).zip(&good).filter(|(_, good)| **good).map(|(at, _)| at).collect();
    while let Some(at) = todo.pop() {
        let from = before.partition_point(|(to, _)| *to < at);
        for (_, origin) in before[from..].iter().take_while(|(to, _)| *to == at) {
            if !std::mem::replace(&mut good[*origin as usize], true) {
                todo.push(*origin);
            }
        }
    }
    (0..worlds.len()).find(|at| !good[*at])
}

fn path(worlds: &[World], came: &[(u32, Label)], mut at: usize) -> Vec<(Label, World)> {
    let mut path = Vec::new();
    while at != 0 {
        path.push((came[at].1, worlds[at]));
        at = came[at].0 as usize;
    }
    path.reverse();
    path
}
