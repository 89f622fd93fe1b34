//! The modules of one crate, and what a path in one of them stands for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    facts::{Facts, Scope},
    graph::Graph,
    tree::Tree,
};

/// A crate's modules. The first is its root.
#[derive(Debug)]
pub struct Crate<'tree> {
    modules: Vec<Module<'tree>>,
}

#[derive(Debug)]
struct Module<'tree> {
    file: &'tree str,
    scope: &'tree Scope,
    parent: usize,
    children: HashMap<&'tree str, usize>,
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(usize),
    /// An item that this module defines.
    Item(usize),
}

/// One file names what another file defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The file that names it.
    pub from: String,
    /// Where.
    pub line: usize,
    /// As it is written there.
    pub path: String,
    /// The file that defines it; none if the path names a module.
    pub to: Option<String>,
    /// Every file whose module or re-export the path leads through, and the one that defines it.
    pub touched: BTreeSet<String>,
}

impl<'tree> Crate<'tree> {
    /// Follows the `mod` declarations from the root on. What only tests declare is no part of it.
    pub fn of(tree: &'tree Tree, root: &'tree str) -> Self {
        let mut this = Self { modules: Vec::new() };
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some(facts) = tree.facts(root) {
            this.file(tree, root, facts, folder, 0);
        }
        this
    }

    fn file(&mut self, tree: &'tree Tree, file: &'tree str, facts: &'tree Facts, folder: &str, parent: usize) -> usize {
        let first = self.modules.len();
        let mut known: HashMap<&[String], usize> = HashMap::new();
        for scope in &facts.scopes {
            let index = self.modules.len();
            let above = scope.path.split_last().map_or(parent, |(_, above)| known[above]);
            self.modules.push(Module { file, scope, parent: above, children: HashMap::new() });
            if let Some(name) = scope.path.last() {
                self.modules[above].children.insert(name, index);
            }
            known.insert(&scope.path, index);
            let mut inside = folder.to_owned();
            scope.path.iter().for_each(|name| inside = format!("{inside}/{name}"));
            for (name, path) in &scope.files {
                let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                let candidates = match path {
                    Some(path) => vec![format!("{beside}/{path}")],
                    None => vec![format!("{inside}/{name}.rs"), format!("{inside}/{name}/mod.rs")],
                };
                for candidate in candidates {
                    if let Some((path, facts)) = tree.entry(&candidate) {
                        let child = self.file(tree, path, facts, &format!("{inside}/{name}"), index);
                        self.modules[index].children.insert(name, child);
                    }
                }
            }
        }
        first
    }

    /// The files that it is made of.
    pub fn files(&self) -> BTreeSet<&'tree str> {
        self.modules.iter().map(|module| module.file).collect()
    }

    /// For each file the file that declares it.
    pub fn parents(&self) -> BTreeMap<&'tree str, &'tree str> {
        self.modules
            .iter()
            .map(|module| (module.file, self.modules[module.parent].file))
            .filter(|(a, b)| a != b)
            .collect()
    }

    /// Everything that one file names of another.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses = BTreeSet::new();
        for (index, module) in self.modules.iter().enumerate() {
            let globs = module.scope.globs.iter().map(|path| (path, 0, "::*"));
            let mentions = module.scope.mentions.iter().map(|mention| (&mention.path, mention.line, ""));
            for (path, line, end) in mentions.chain(globs) {
                let mut touched = BTreeSet::new();
                let targets = self.resolve(index, path, &mut touched, 0);
                // A lone name is no module: it is a variable that is called so.
                let is_lone_module = path.len() == 1 && end.is_empty();
                for target in targets {
                    let (Target::Module(found) | Target::Item(found)) = target;
                    if is_lone_module && matches!(target, Target::Module(_)) {
                        continue;
                    }
                    let file = self.modules[found].file;
                    let mut touched: BTreeSet<_> =
                        touched.iter().map(|at: &usize| self.modules[*at].file.to_owned()).collect();
                    touched.insert(file.to_owned());
                    touched.remove(module.file);
                    if !touched.is_empty() {
                        let to = (matches!(target, Target::Item(_)) && file != module.file).then(|| file.to_owned());
                        let path = path.join("::") + end;
                        uses.insert(Use { from: module.file.to_owned(), line, path, to, touched });
                    }
                }
            }
        }
        uses.into_iter().collect()
    }

    /// Which file needs which.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        self.files().into_iter().for_each(|file| graph.node(file));
        for it in self.uses() {
            if let Some(to) = &it.to {
                graph.edge(&it.from, to, it.path.clone(), it.line);
            }
        }
        graph
    }

    fn resolve(&self, from: usize, path: &[String], through: &mut BTreeSet<usize>, depth: usize) -> BTreeSet<Target> {
        let none = BTreeSet::new();
        let Some((first, rest)) = path.split_first() else { return none };
        // Imports in a circle lead nowhere.
        if depth > 16 {
            return none;
        }
        let mut found = match first.as_str() {
            "crate" => BTreeSet::from([Target::Module(0)]),
            "self" => BTreeSet::from([Target::Module(from)]),
            "super" => BTreeSet::from([Target::Module(self.modules[from].parent)]),
            name => self.lookup(from, name, through, depth),
        };
        for name in rest {
            let mut next = BTreeSet::new();
            for target in found {
                match target {
                    Target::Module(at) if name == "super" => {
                        next.insert(Target::Module(self.modules[at].parent));
                    }
                    Target::Module(at) => next.extend(self.lookup(at, name, through, depth)),
                    // A method, a variant: it stands where its type stands.
                    Target::Item(_) => {
                        next.insert(target);
                    }
                }
            }
            found = next;
        }
        found
    }

    fn lookup(&self, at: usize, name: &str, through: &mut BTreeSet<usize>, depth: usize) -> BTreeSet<Target> {
        let module = &self.modules[at];
        let mut found = BTreeSet::new();
        found.extend(module.children.get(name).map(|child| Target::Module(*child)));
        if module.scope.items.iter().any(|item| item == name) {
            found.insert(Target::Item(at));
        }
        for import in module.scope.imports.iter().filter(|import| import.name == name) {
            // `use serde::Serialize as serde` and the like name themselves.
            if import.path.first().is_some_and(|first| first == name) && import.path.len() == 1 {
                continue;
            }
            through.insert(at);
            found.extend(self.resolve(at, &import.path, through, depth + 1));
        }
        if found.is_empty() {
            for glob in &module.scope.globs {
                for target in self.resolve(at, glob, through, depth + 1) {
                    if let Target::Module(other) = target
                        && other != at
                    {
                        let more = self.lookup(other, name, through, depth + 1);
                        if !more.is_empty() {
                            through.insert(at);
                        }
                        found.extend(more);
                    }
                }
            }
        }
        found
    }
}
