//! Which request this is, said so that it does not depend on what others ask at the same time: who asks, for what, and for which
//! time. Ids and what chaos does derive from it, so a seed gives the same run however the requests interleave.
//!
//! The idempotency key is no part of it, for most clients make keys up; nor is `created`, which clients compute from the time of day.
//! So two requests that ask for the same are told apart by their order alone.

use std::collections::HashMap;

use ring::digest;

use super::message::Request;

/// What each request is, as often as it was asked.
#[derive(Debug, Default)]
pub(super) struct Turns(HashMap<u64, u64>);

impl Turns {
    /// How many times this was asked before.
    pub fn count(&mut self, what: u64) -> u64 {
        let count = self.0.entry(what).or_default();
        *count += 1;
        *count - 1
    }
}

/// What a request asks for, and who asks.
pub(super) fn identity(request: &Request) -> u64 {
    let who = ["authorization", "stripe-account"].map(|name| request.header(name).unwrap_or_default());
    let mut fields = request.fields();
    fields.retain(|(name, _)| name != "created" && !name.starts_with("created["));
    // The order of the fields does not count; that of equal names (`a[]`) does.
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let fields = fields.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    hash(who.into_iter().chain([request.method.as_str(), request.path.as_str()]).chain(fields))
}

/// The same number for the same words, on every machine and in every version.
pub(super) fn hash<'a>(words: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for word in words {
        // With its length, so that no two lists of words run into the same text.
        context.update(&u64::try_from(word.len()).unwrap_or_default().to_be_bytes());
        context.update(word.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Numbers that look random; the same from the same start.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub u64);

impl Dice {
    /// SplitMix64: one step of it.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 on, below `sides`.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.roll().checked_rem(sides).unwrap_or_default()
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// True with this probability, between 0 and 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 32 bits are exact in a float, and fine enough.
        let drawn = u32::try_from(self.roll() >> 32).unwrap_or_default();
        f64::from(drawn) < probability * (f64::from(u32::MAX) + 1.0)
    }
}
