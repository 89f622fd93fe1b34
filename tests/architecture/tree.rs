//! The files that the rules look at: those of this repository, or a few strings of a fixture.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::OnceLock,
    thread,
};

use crate::{facts::Facts, modules::Crate};

/// The roots of the crates, the library of `jobs` first.
pub const ROOTS: [&str; 6] = [
    "jobs/src/lib.rs",
    "src/lib.rs",
    "src/main.rs",
    "sandbox/src/lib.rs",
    "jobs/stripe/src/lib.rs",
    "jobs/letters/src/lib.rs",
];

/// Files by their path from the repository's root.
#[derive(Debug)]
pub struct Tree {
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    text: String,
    facts: Option<Facts>,
}

impl Tree {
    /// This repository, read once.
    pub fn here() -> &'static Self {
        static HERE: OnceLock<Tree> = OnceLock::new();
        HERE.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
            let mut files = Vec::new();
            read(root, "", &mut files).unwrap();
            Self::of(files)
        })
    }

    /// A fixture.
    pub fn fixture(files: &[(&str, &str)]) -> Self {
        Self::of(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn of(files: Vec<(String, String)>) -> Self {
        let share = files.len().div_ceil(4).max(1);
        let mut files = files.into_iter();
        let shares: Vec<Vec<_>> = (0..4).map(|_| files.by_ref().take(share).collect()).collect();
        let parsed = thread::scope(|scope| {
            let threads: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| parse(share))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        Self { files: parsed }
    }

    /// What a file of Rust says.
    pub fn facts(&self, path: &str) -> Option<&Facts> {
        self.files.get(path)?.facts.as_ref()
    }

    /// The same, with the path as the tree keeps it.
    pub fn entry(&self, path: &str) -> Option<(&str, &Facts)> {
        let (path, file) = self.files.get_key_value(path)?;
        Some((path, file.facts.as_ref()?))
    }

    /// The paths and texts whose names end so.
    pub fn texts<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(end))
            .map(|(path, file)| (path.as_str(), file.text.as_str()))
    }

    /// Whether there is a file or a folder of this name.
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty() || self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&folder))
    }

    /// The files of the crates, without those that only tests declare.
    pub fn code(&self) -> BTreeSet<&str> {
        let files = ROOTS.iter().filter_map(|root| self.entry(root));
        files.flat_map(|(root, _)| Crate::of(self, root).files()).collect()
    }
}

/// The module of `jobs/src` that a file belongs to: its folder, or `registry.rs`.
pub fn module(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("jobs/src/")?;
    let folder = rest.split_once('/').map(|(folder, _)| folder);
    folder.or((rest == "registry.rs").then_some("registry"))
}

fn parse(files: Vec<(String, String)>) -> Vec<(String, File)> {
    let parsed = files.into_iter().map(|(path, text)| {
        let is_code = Path::new(&path).extension().is_some_and(|end| end == "rs")
            && (path.starts_with("src/") || path.contains("/src/"));
        let facts = is_code.then(|| Facts::of(&text).unwrap_or_else(|error| panic!("{path}: {error}")));
        (path, File { text, facts })
    });
    parsed.collect()
}

fn read(root: &Path, folder: &str, files: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.file_type()?.is_dir() {
            if !matches!(name.as_str(), "target" | ".git") {
                read(root, &path, files)?;
            }
            continue;
        }
        let is_read = [".rs", ".sql", ".md"].iter().any(|end| name.ends_with(end));
        let text = if is_read { fs::read_to_string(root.join(&path))? } else { String::new() };
        files.push((path, text));
    }
    Ok(())
}
