//! Files that need each other in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// Which file needs which, by which names, each with its first line.
#[derive(Debug, Default, Clone)]
pub struct Graph {
    edges: BTreeMap<String, BTreeMap<String, BTreeMap<String, usize>>>,
}

impl Graph {
    /// Adds a file.
    pub fn node(&mut self, file: &str) {
        self.edges.entry(file.to_owned()).or_default();
    }

    /// Adds that one needs another, by which name, first in which line.
    pub fn edge(&mut self, from: &str, to: &str, why: String, line: usize) {
        self.node(to);
        if from != to {
            let whys = self.edges.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
            whys.entry(why).or_insert(line);
        }
    }

    /// The same without the edges between a parent and its child that name each other.
    pub fn without_families(&self, parents: &BTreeMap<&str, &str>) -> Self {
        let is_family = |a: &str, b: &str| parents.get(a) == Some(&b) || parents.get(b) == Some(&a);
        let mut rest = self.clone();
        for (from, to) in &mut rest.edges {
            to.retain(|to, _| !(is_family(from, to) && self.edges[to].contains_key(from)));
        }
        rest
    }

    /// Each set of two or more files in which every file leads to every other, the largest first.
    pub fn cycles(&self) -> Vec<BTreeSet<&str>> {
        let order = self.finished();
        let mut back: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, to) in &self.edges {
            for to in to.keys() {
                back.entry(to).or_default().push(from);
            }
        }
        let (mut seen, mut cycles) = (BTreeSet::new(), Vec::new());
        for file in order.into_iter().rev() {
            let (mut component, mut open) = (BTreeSet::new(), vec![file]);
            while let Some(file) = open.pop() {
                if seen.insert(file) {
                    component.insert(file);
                    open.extend(back.get(file).into_iter().flatten());
                }
            }
            if component.len() > 1 {
                cycles.push(component);
            }
        }
        cycles.sort_by_key(|cycle| std::cmp::Reverse(cycle.len()));
        cycles
    }

    /// The files in the order in which a depth-first walk leaves them.
    fn finished(&self) -> Vec<&str> {
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for start in self.edges.keys() {
            let mut open = vec![(start.as_str(), false)];
            while let Some((file, is_left)) = open.pop() {
                if is_left {
                    order.push(file);
                } else if seen.insert(file) {
                    open.push((file, true));
                    open.extend(self.edges[file].keys().map(|to| (to.as_str(), false)));
                }
            }
        }
        order
    }

    /// The edges that close a cycle: without them no circle is left. Few of them, though not always the fewest
    /// (Eades, Lin and Smyth: order the files, take the edges that lead back).
    pub fn closing<'a>(&'a self, cycle: &BTreeSet<&'a str>) -> Vec<(&'a str, &'a str)> {
        let inside = |from: &'a str| self.edges[from].keys().map(String::as_str).filter(|to| cycle.contains(to));
        let (mut left, mut first, mut last) = (cycle.clone(), Vec::new(), Vec::new());
        while !left.is_empty() {
            let weight = |from: &str, to: &str| self.edges[from].get(to).map_or(0, BTreeMap::len);
            let out = |file: &str| left.iter().map(|to| weight(file, to)).sum::<usize>();
            let into = |file: &str| left.iter().map(|from| weight(from, file)).sum::<usize>();
            let sink = left.iter().copied().find(|file| out(file) == 0);
            // Files without a user come first, files that need nothing come last, else who gives most and takes least.
            let next = sink
                .or_else(|| left.iter().copied().find(|file| into(file) == 0))
                .or_else(|| left.iter().copied().max_by_key(|file| out(file).cast_signed() - into(file).cast_signed()));
            let Some(next) = next else { break };
            if sink.is_some() {
                last.push(next);
            } else {
                first.push(next);
            }
            left.remove(next);
        }
        first.extend(last.into_iter().rev());
        let at = |file: &str| first.iter().position(|other| *other == file);
        let all = cycle.iter().flat_map(|from| inside(from).map(|to| (*from, to)));
        all.filter(|(from, to)| at(from) > at(to)).collect()
    }

    /// The cycles as people read them: the files, and the edges that close each cycle.
    pub fn show(&self, name: &str) -> String {
        let cycles = self.cycles();
        let mut text = format!("{name}: {} files, {} cycles\n", self.edges.len(), cycles.len());
        for cycle in cycles {
            let closing = self.closing(&cycle);
            let files: Vec<_> = cycle.iter().copied().collect();
            writeln!(
                text,
                "  cycle of {} files, closed by {} edges:\n    {}",
                files.len(),
                closing.len(),
                files.join(" ")
            )
            .unwrap();
            for (from, to) in closing {
                let names: Vec<_> = self.edges[from][to].iter().map(|(name, line)| format!("{name}:{line}")).collect();
                writeln!(text, "    cut {from} -> {to}: {}", names.join(", ")).unwrap();
            }
        }
        text
    }
}
