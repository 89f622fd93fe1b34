//! What receivers are paid, judged, and what holds it.

use std::collections::BTreeMap;

use bursar_jobs::terms::{Limits, PayoutTerms, SkillRate};

use super::{SettingsError, number, raw, raw::PerCurrency, terms::currency};

/// `skills` are those that have a price.
pub(super) fn read(raw: &raw::Payout, skills: &BTreeMap<String, raw::Text>) -> Result<PayoutTerms, SettingsError> {
    let usual = SkillRate {
        minor_units_per_credit: rate("payout.minor_units_per_credit", &raw.minor_units_per_credit.0)?,
        currency: currency("payout.currency", &raw.currency.0)?,
    };
    let mut rates = BTreeMap::new();
    for (name, skill) in &raw.skills {
        let at = |field: &str| format!("payout.skills.{name}.{field}");
        if !skills.contains_key(name) {
            let key = format!("payout.skills.{name}");
            let problem = format!("is set, and the skill {name} has no price");
            return Err(SettingsError::new(&key, problem, "Give it one in [skills], or take this away."));
        }
        let per = skill.minor_units_per_credit.as_ref();
        let per = per.map_or(Ok(usual.minor_units_per_credit), |text| rate(&at("minor_units_per_credit"), &text.0))?;
        let code = skill.currency.as_ref();
        let code = code.map_or_else(|| Ok(usual.currency.clone()), |text| currency(&at("currency"), &text.0))?;
        rates.insert(name.clone(), SkillRate { minor_units_per_credit: per, currency: code });
    }
    let mut limits: BTreeMap<String, Limits> = BTreeMap::new();
    for (code, minimum) in amounts("payout.minimum", raw.minimum.as_ref(), &usual.currency)? {
        limits.entry(code).or_default().minimum = minimum;
    }
    let key = "payout.daily_cap_per_receiver";
    for (code, cap) in amounts(key, raw.daily_cap_per_receiver.as_ref(), &usual.currency)? {
        limits.entry(code).or_default().daily_cap_per_receiver = Some(cap);
    }
    for (code, cap) in amounts("payout.daily_cap", raw.daily_cap.as_ref(), &usual.currency)? {
        limits.entry(code).or_default().daily_cap = Some(cap);
    }
    let SkillRate { minor_units_per_credit, currency } = usual;
    Ok(PayoutTerms { minor_units_per_credit, currency, skills: rates, limits })
}

fn rate(key: &str, text: &str) -> Result<i64, SettingsError> {
    match number::<i64>(key, text, "a whole number from 1")? {
        rate @ 1.. => Ok(rate),
        rate => Err(SettingsError::new(key, format!("is {rate}"), "Write a whole number from 1.")),
    }
}

/// Amounts in minor units, by currency; 0 is an amount.
fn amounts(key: &str, given: Option<&PerCurrency>, usual: &str) -> Result<Vec<(String, i64)>, SettingsError> {
    let amount = |key: &str, text: &str| match number::<i64>(key, text, "a whole number of minor units, from 0")? {
        amount @ 0.. => Ok(amount),
        amount => Err(SettingsError::new(key, format!("is {amount}"), "Write a whole number of minor units, from 0.")),
    };
    match given {
        None => Ok(Vec::new()),
        Some(PerCurrency::Usual(text)) => Ok(vec![(usual.to_owned(), amount(key, &text.0)?)]),
        Some(PerCurrency::Named(named)) => named
            .iter()
            .map(|(code, text)| {
                let key = format!("{key}.{code}");
                Ok((currency(&key, code)?, amount(&key, &text.0)?))
            })
            .collect(),
    }
}
