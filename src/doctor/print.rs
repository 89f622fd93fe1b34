//! What is printed: a line a check and its remedy below it, or an object a line for programs.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};

use super::check::{Check, Verdict};

const REMEDY: Style = Style::new().dimmed();

/// Prints them, and how many there are of each on stderr. The symbol and the word say all; colour is an addition.
pub(super) fn print(checks: &[Check], json: bool) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    let width = checks.iter().map(|check| check.check.chars().count()).max().unwrap_or_default();
    for check in checks {
        if json {
            writeln!(out, "{}", serde_json::to_string(check)?)?;
            continue;
        }
        let (symbol, style) = sign(check.result);
        let (word, name, seen) = (check.result.word(), &check.check, clean(&check.seen));
        writeln!(out, "{style}{symbol} {word:<4}{style:#}  {name:<width$}  {seen}")?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:8}{:width$}  {REMEDY}→ {}{REMEDY:#}", "", "", clean(remedy))?;
        }
    }
    let count = |wanted| checks.iter().filter(|check| check.result == wanted).count();
    let all = [Verdict::Ok, Verdict::Warn, Verdict::Fail, Verdict::Skip];
    let counts = all.map(|verdict| format!("{} {}", count(verdict), verdict.word())).join(", ");
    // Nobody is left to tell where stderr is closed.
    drop(writeln!(anstream::stderr().lock(), "{counts}"));
    Ok(())
}

fn sign(verdict: Verdict) -> (char, Style) {
    match verdict {
        Verdict::Ok => ('✓', AnsiColor::Green.on_default()),
        Verdict::Warn => ('!', AnsiColor::Yellow.on_default().bold()),
        Verdict::Fail => ('✗', AnsiColor::Red.on_default().bold()),
        Verdict::Skip => ('–', Style::new().dimmed()),
    }
}

/// Text from outside on one line, and without what would drive the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
