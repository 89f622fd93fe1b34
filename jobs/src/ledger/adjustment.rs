//! Corrections that an operator makes by hand: the command, its key, and how amounts are said.

use crate::{
    base::{credits::Credits, money},
    ledger::CREDITS,
};

/// The key under which an operator settles an object by hand; a run that finds a posting under it asks no more.
pub(crate) fn key_of(object: &str) -> String {
    format!("reconcile:{object}")
}

/// The command that moves credits by hand for an object.
pub(crate) fn command(verb: &str, user: &str, micros: i64, object: &str) -> String {
    let amount = Credits::from_micros(micros);
    format!("bursar credits {verb} {} {amount} --key {} --why '…'", quoted(user), key_of(object))
}

/// The command that makes of what stands, and whose, what should: whose, where it is known, and how much. In millionths.
pub(crate) fn correction(stands: (&str, i64), wanted: (Option<&str>, i64), object: &str) -> String {
    match wanted.0 {
        Some(user) if user != stands.0 => format!("it is {user}'s: {}", command("revoke", stands.0, stands.1, object)),
        _ if stands.1 > wanted.1 => command("revoke", stands.0, stands.1 - wanted.1, object),
        _ => command("grant", stands.0, wanted.1 - stands.1, object),
    }
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/@%+=".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An amount as people read it.
pub fn amount_said(amount: i64, unit: &str) -> String {
    if unit == CREDITS { format!("{} credits", Credits::from_micros(amount)) } else { money::format(amount, unit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_can_be_pasted_into_a_shell() {
        assert_eq!(
            command("revoke", "o'brien; rm", 2_500_000, "posting:7"),
            r"bursar credits revoke 'o'\''brien; rm' 2.5 --key reconcile:posting:7 --why '…'"
        );
        assert_eq!((quoted("user_1"), quoted("-x")), ("user_1".into(), "'-x'".into()));
    }
}
