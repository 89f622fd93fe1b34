//! What to try next: lines to paste, in the folder where `bursar dev` was started.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use bursar_jobs::engine::kind;

use super::instance::Instance;
use crate::sandbox;

/// What is printed once everything runs.
pub(super) fn next(here: &Path, instance: &Instance) -> String {
    let bursar = command(here, std::env::args_os().next(), std::env::current_exe().ok());
    let url = &instance.url;
    let (moved, more) = instance.sandbox.as_ref().map_or_else(Default::default, |sandbox| {
        let moved = format!("\n  # and what the sandbox says that really moved\n  curl -s {sandbox}/_sandbox/ledger");
        (moved, sale(instance, &bursar) + &stripe_cli(instance, sandbox))
    });
    format!(
        "
bursar runs at {url}. Paste these in another terminal, in this folder:

  # alice buys 200 credits for 29.99 USD
  {bursar} dev send fixtures/checkout.session.completed.json
  # her subscription to the tier pro is paid: 150 credits for the month
  {bursar} dev send fixtures/invoice.paid.json
  # bob did a job for her, and it was verified: he is owed for it
  {bursar} dev send fixtures/job.verified.json
  # alice's balance, and where it came from
  {bursar} credits history alice
  # bob's payout, and every call that was made for it
  {bursar} payouts show job_0001{moved}
{more}
A line pasted twice is the same event and has one effect; with --new it is another event.
Ctrl-C stops everything. The data stays until `bursar dev --fresh`.
"
    )
}

/// What is sold is bought in a browser, and its months can be played.
fn sale(Instance { api, api_token, .. }: &Instance, bursar: &str) -> String {
    format!(
        "
What is sold, a person buys in a browser:

  # dana wants the tier pro: open the url that is answered, and pay there
  curl -s {api}/api/stripe/checkout -H 'Authorization: Bearer {api_token}' -d '{{\"user_id\": \"dana\", \"tier\": \"pro\"}}'
  # once she has paid: two months of it, in a second
  {bursar} sandbox advance 63d
  {bursar} credits history dana
"
    )
}

/// The lines for Stripe's own command line, which takes the sandbox for Stripe.
fn stripe_cli(instance: &Instance, sandbox: &str) -> String {
    let events: Vec<&str> = kind::STRIPE_EVENTS.iter().map(|(name, _)| *name).collect();
    let (events, Instance { url, webhook_path, .. }) = (events.join(","), instance);
    let to = format!("--api-base {sandbox} --api-key {}", sandbox::KEY);
    format!(
        "
The Stripe CLI takes the sandbox for Stripe. Its events come here with or without `stripe listen`; with it they come twice, and
have one effect:

  # in a terminal of its own: what arrives, and what was answered
  stripe listen {to} --forward-to {url}{webhook_path} --events {events}
  # something happens at Stripe
  stripe trigger invoice.paid {to}
"
    )
}

/// How this program is called from this folder: as it was found in the PATH, else by the path that leads to it.
fn command(here: &Path, called: Option<OsString>, program: Option<PathBuf>) -> String {
    let called = PathBuf::from(called.unwrap_or_else(|| "bursar".into()));
    if called.components().count() == 1 && !called.starts_with(".") {
        return quoted(&called);
    }
    let program = program.unwrap_or(called);
    match program.strip_prefix(here) {
        // A bare name would be looked for in the PATH.
        Ok(inside) if inside.components().count() == 1 => quoted(&Path::new(".").join(inside)),
        Ok(inside) => quoted(inside),
        Err(_) => quoted(&program),
    }
}

fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    if plain { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted() {
        let command = |called: &str, program: &str| {
            super::command(Path::new("/home/a/shop"), Some(called.into()), Some(program.into()))
        };
        assert_eq!(command("target/debug/bursar", "/home/a/shop/target/debug/bursar"), "target/debug/bursar");
        assert_eq!(
            command("/home/a/shop/target/debug/bursar", "/home/a/shop/target/debug/bursar"),
            "target/debug/bursar"
        );
        assert_eq!(command("bursar", "/usr/local/bin/bursar"), "bursar");
        assert_eq!(command("./bursar", "/home/a/shop/bursar"), "./bursar");
        assert_eq!(
            command("../bursar/target/debug/bursar", "/home/a/bursar/target/debug/bursar"),
            "/home/a/bursar/target/debug/bursar"
        );
        assert_eq!(command("./my tools/bursar", "/home/a/shop/my tools/bursar"), "'my tools/bursar'");
    }
}
