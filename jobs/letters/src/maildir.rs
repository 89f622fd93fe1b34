//! A maildir: where letters go that no mail server is there for.
//!
//! A letter is written to `tmp`, made durable, and moved to `new` (cr.yp.to/proto/maildir.html). Its name is made from its Message-ID, so
//! that the same letter written again is the same file.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::sealed::Sealed;

/// Letters as files.
#[derive(Debug, Clone)]
pub struct Maildir {
    folder: PathBuf,
}

impl Maildir {
    /// The maildir in this folder; it is made when the first letter comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a letter could be put there. Nothing is left behind: where the folder is not there yet, it is the one that it would be made
    /// in that must take files.
    pub(crate) async fn try_out(&self) -> io::Result<()> {
        let folder = self.folder.clone();
        let tried = tokio::task::spawn_blocking(move || {
            let there = [folder.join("tmp"), folder.clone()].into_iter().find(|folder| folder.exists());
            let above = || folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new(".")).to_owned();
            let trial = there.unwrap_or_else(above).join(format!(".{}.bursar", std::process::id()));
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial)?;
            fs::remove_file(&trial)
        });
        tried.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Puts a letter there, and returns its file.
    pub(crate) async fn put(&self, sealed: &Sealed) -> io::Result<PathBuf> {
        let (folder, sealed) = (self.folder.clone(), sealed.clone());
        let put = tokio::task::spawn_blocking(move || put(&folder, &sealed)).await;
        put.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

fn put(folder: &Path, sealed: &Sealed) -> io::Result<PathBuf> {
    for part in ["tmp", "new", "cur"] {
        // What is in a letter is its reader's business alone.
        DirBuilder::new().recursive(true).mode(0o700).create(folder.join(part))?;
    }
    let name = sealed.message_id.trim_matches(['<', '>']).split('@').next().unwrap_or_default();
    let name = format!("{name}.bursar");
    let draft = folder.join("tmp").join(&name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    // In files lines end as the system's do.
    let lines: Vec<u8> = sealed.bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
    file.write_all(&lines)?;
    file.sync_all()?;
    let letter = folder.join("new").join(&name);
    fs::rename(&draft, &letter)?;
    File::open(folder.join("new"))?.sync_all()?;
    Ok(letter)
}
