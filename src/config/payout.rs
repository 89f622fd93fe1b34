//! What receivers are paid, judged, and what holds it.

use std::collections::BTreeMap;

use bursar_jobs::{
    base::money,
    terms::{Limits, PayoutTerms, SkillRate, Terms},
};

use super::{
    SettingsError, number,
    raw::{self, PerCurrency},
    terms::currency,
};

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

/// What each skill is paid must be an amount that Stripe pays out, in a currency that has whole units only (Stripe: currencies).
pub(super) fn judge(terms: &Terms) -> Result<(), SettingsError> {
    for (skill, cost) in &terms.skills {
        let rate = terms.payout.rate(skill);
        if money::payout_step(&rate.currency) > 1
            && let Err(why) = rate.owed(*cost)
        {
            let key = format!("payout.skills.{skill}.minor_units_per_credit");
            let remedy = "Choose the rate so that the skill is paid in such units.";
            return Err(SettingsError::new(&key, format!("is {}: {why}", rate.minor_units_per_credit), remedy));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{File, Settings};

    fn judged(text: &str, variables: &[(&str, &str)]) -> Result<PayoutTerms, SettingsError> {
        let file = File { name: "bursar.toml".to_owned(), text: text.to_owned() };
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Ok(Settings::from_parts(&[], variables, Some(&file))?.terms()?.payout)
    }

    #[test]
    fn nothing_is_limited_that_nobody_limited() {
        let terms = judged("", &[]).unwrap();
        assert!(terms.limits.is_empty() && terms.skills.is_empty());
        assert_eq!(terms.limits("usd"), Limits::default());
        assert_eq!(terms.rate("research"), SkillRate { minor_units_per_credit: 50, currency: "usd".into() });
    }

    #[test]
    fn an_amount_is_of_the_usual_currency_or_of_those_that_are_named() {
        let usual = judged("[payout]\nminimum = 1000\ndaily_cap = '500000'", &[]).unwrap();
        assert_eq!(usual.limits("usd"), Limits { minimum: 1000, daily_cap: Some(500_000), ..Limits::default() });
        assert_eq!(usual.limits("eur"), Limits::default());
        let named =
            judged("[payout]\nminimum = { USD = 5, eur = 9 }\ndaily_cap_per_receiver = { jpy = 0 }", &[]).unwrap();
        assert_eq!((named.limits("usd").minimum, named.limits("eur").minimum), (5, 9));
        assert_eq!(named.limits("jpy").daily_cap_per_receiver, Some(0));
        let set = judged("[payout]\nminimum = 1000", &[("BURSAR_PAYOUT__MINIMUM", "7")]).unwrap();
        assert_eq!(set.limits("usd").minimum, 7);
        let one = judged("", &[("BURSAR_PAYOUT__DAILY_CAP__EUR", "7")]).unwrap();
        assert_eq!(one.limits("eur").daily_cap, Some(7));
    }

    #[test]
    fn a_skill_is_paid_at_its_own_rate_and_in_its_own_currency() {
        let text = "[skills]\nresearch = 2\nessay = 1\n[payout.skills.essay]\ncurrency = 'EUR'\n\
                    [payout.skills.research]\nminor_units_per_credit = 70";
        let terms = judged(text, &[]).unwrap();
        assert_eq!(terms.rate("essay"), SkillRate { minor_units_per_credit: 50, currency: "eur".into() });
        assert_eq!(terms.rate("research"), SkillRate { minor_units_per_credit: 70, currency: "usd".into() });
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, wanted) in [
            ("[payout]\nminimum = -1", "`payout.minimum`"),
            ("[payout]\nminimum = 1.5", "`payout.minimum`"),
            ("[payout]\ndaily_cap = { euro = 1 }", "`payout.daily_cap.euro`"),
            ("[payout]\ndaily_cap_per_receiver = { eur = 'much' }", "`payout.daily_cap_per_receiver.eur`"),
            ("[payout]\nminor_units_per_credit = 0", "`payout.minor_units_per_credit`"),
            ("[payout.skills.juggling]\ncurrency = 'eur'", "juggling has no price"),
            ("[payout.skills.research]\nminor_units_per_credit = 0", "`payout.skills.research.minor_units_per_credit`"),
            ("[payout.skills.research]\nrate = 1", "rate"),
            ("[payout]\ncurrency = 'huf'\nminor_units_per_credit = 25", "0.50 HUF is no multiple of 1.00 HUF"),
        ] {
            let refused = judged(text, &[]).expect_err(text).to_string();
            assert!(refused.contains(wanted), "{text}: {refused}");
        }
    }
}
