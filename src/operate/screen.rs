//! The only file that prints: data to stdout, words to stderr, colour only where a terminal shows it and `NO_COLOR` is unset.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
};

use chrono::{DateTime, Utc};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::table::table;

/// The least columns that a figure's words get.
const ROOM: u16 = 10;

const LABEL: Style = Style::new().dimmed();
const TITLE: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Where a command's answer goes.
#[derive(Debug)]
pub struct Screen {
    json: bool,
    /// The columns of the terminal; none where stdout is a file or a pipe, which take lines of any length.
    width: Option<u16>,
    /// Business time, which what is shown is counted from.
    now: DateTime<Utc>,
}

impl Screen {
    /// A screen for people, or one for programs.
    pub fn new(json: bool, now: DateTime<Utc>) -> Self {
        let width = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten().map(|(width, _)| width.0);
        Self { json, width, now }
    }

    /// Whether the answer is wanted as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes one object on one line.
    pub fn object(&self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_string(value)?;
        line.push('\n');
        io::stdout().lock().write_all(line.as_bytes())
    }

    /// Writes what was done: an object for programs, a sentence for people.
    pub fn done(&self, value: &impl Serialize, sentence: &str) -> io::Result<()> {
        if self.json { self.object(value) } else { self.line(sentence) }
    }

    /// Writes a line for people.
    pub fn line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{}", clean(text))
    }

    /// Writes one labelled fact of a page; further lines of its text are set under the first.
    pub fn fact(&self, label: &str, text: &str) -> io::Result<()> {
        let text = clean(text).replace('\n', "\n              ");
        writeln!(anstream::stdout().lock(), "{LABEL}{label:<13}{LABEL:#} {text}")
    }

    /// Writes what the figures that follow are about.
    pub fn title(&self, text: &str) -> io::Result<()> {
        writeln!(anstream::stdout().lock(), "{TITLE}{}{TITLE:#}", clean(text))
    }

    /// Writes one figure after its label, which takes so many columns; what is too long for the terminal goes on under the figure.
    pub fn figure(&self, label: &str, columns: usize, text: &str) -> io::Result<()> {
        let room = self.width.map(|width| usize::from(width).saturating_sub(columns).max(usize::from(ROOM)));
        let mut out = anstream::stdout().lock();
        for (n, line) in wrapped(&clean(text), room).iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            writeln!(out, "  {LABEL}{label:<rest$}{LABEL:#}{line}", rest = columns.saturating_sub(2))?;
        }
        Ok(())
    }

    /// Writes rows: an object a line for programs, a table for people.
    pub fn rows<T: Serialize>(&self, rows: &[T], header: &[&str], cells: impl Fn(&T) -> Vec<String>) -> io::Result<()> {
        if self.json {
            return rows.iter().try_for_each(|row| self.object(row));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let cells = |row| cells(row).iter().map(|cell| clean(cell).replace('\n', " ")).collect();
        let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
        writeln!(io::stdout().lock(), "{}", table(header, &lines, self.width))
    }

    /// The business time at which the command was given.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Asks a person for a yes. Without a terminal there is nobody to ask, and the answer is no.
    pub fn confirm(&self, question: &str) -> io::Result<bool> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(false);
        }
        write!(anstream::stderr().lock(), "{} [y/N] ", clean(question))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// How far away a moment is: `3m ago`, `in 2h`.
    pub fn away(&self, at: DateTime<Utc>) -> String {
        away(at, self.now)
    }

    /// A moment, and how far away it is.
    pub fn moment(&self, at: DateTime<Utc>) -> String {
        format!("{} ({})", stamp(at), self.away(at))
    }

    /// Shows how far something is, on stderr.
    pub fn progress(&self) -> Progress {
        Progress { drawn: false, terminal: !self.json && io::stderr().is_terminal() }
    }

    /// Says something beside the answer, on stderr.
    pub fn note(&self, text: &str) {
        // Nobody is left to tell where stderr is closed.
        drop(writeln!(anstream::stderr().lock(), "{}", clean(text)));
    }
}

/// How far something is: one line that changes on a terminal, a line now and then elsewhere.
pub struct Progress {
    drawn: bool,
    terminal: bool,
}

impl Progress {
    /// Shows it; `news` is what is worth a line of its own where lines stay.
    pub fn show(&mut self, line: &str, news: Option<&str>) {
        // Nobody is left to tell where stderr is closed.
        if self.terminal {
            self.drawn = true;
            drop(write!(anstream::stderr().lock(), "\r{}\u{1b}[K", clean(line)));
        } else if let Some(news) = news {
            drop(writeln!(anstream::stderr().lock(), "{}", clean(news).trim_end()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            drop(write!(anstream::stderr().lock(), "\r\u{1b}[K"));
        }
    }
}

/// Says on stderr why something failed, from the outermost error to its first cause, and what would help.
pub fn report(error: &(dyn Error + 'static), hint: Option<&str>) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        // Some errors repeat their cause in their own words.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    let mut err = anstream::stderr().lock();
    // Nobody is left to tell where stderr is closed.
    drop(writeln!(err, "{ERROR}error:{ERROR:#} {}", clean(&text)));
    if let Some(hint) = hint {
        drop(writeln!(err, "{HINT}hint:{HINT:#} {}", clean(hint)));
    }
}

/// A moment, to the second, in UTC.
pub fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How far away a moment is: `3m ago`, `in 2h`.
fn away(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (at - now).num_seconds();
    let length = match seconds.unsigned_abs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    };
    if seconds > 0 { format!("in {length}") } else { format!("{length} ago") }
}

/// A text in lines of so many columns at most, broken between words; a word that is longer stays whole.
fn wrapped(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else { return vec![text.to_owned()] };
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line =
            lines.last_mut().filter(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= room);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Text from outside without control characters: an error's text must not drive the operator's terminal.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}c\nd"), "a\\u{1b}[2Jb\\u{9b}c\nd");
    }

    #[test]
    fn a_moment_is_said_in_one_unit() {
        for (seconds, said) in [(-5, "5s ago"), (-180, "3m ago"), (7_230, "in 2h"), (-259_200, "3d ago")] {
            assert_eq!(
                away(DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds), DateTime::UNIX_EPOCH),
                said,
                "{seconds}"
            );
        }
    }
}
