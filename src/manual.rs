//! What shells and `man` read of the command line: completions and pages, made of its own declaration.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::{CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use crate::cli::Cli;

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum For {
    /// GNU Bash 4 or later.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Writes the completions of a shell to stdout.
pub fn completions(shell: For) -> io::Result<()> {
    let shell = match shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    // Made as a whole first: a reader that goes away in between is no fault of the generator's.
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "bursar", &mut script);
    through(io::stdout().lock().write_all(&script))
}

/// Writes the manual: all of `bursar` as one page to stdout, or a page for each command into a folder.
pub fn man(folder: Option<&Path>) -> io::Result<()> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return through(io::stdout().lock().write_all(&page));
    };
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

/// A reader that went away has read what it wanted.
fn through(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
