//! Amounts of money in a currency's minor unit.

/// Decimals of a currency's amounts at Stripe (Stripe: currencies, zero-decimal, three-decimal and special cases). ISK and UGX have none,
/// and Stripe writes them with two all the same: 500 are 5 ISK.
pub fn decimals(currency: &str) -> usize {
    match currency {
        "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "vnd" | "vuv" | "xaf"
        | "xof" | "xpf" => 0,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
        _ => 2,
    }
}

/// The minor units that what is charged must be a multiple of (Stripe: currencies, special cases).
pub fn charge_step(currency: &str) -> i64 {
    match currency {
        "isk" | "ugx" => 100,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 10,
        _ => 1,
    }
}

/// The minor units that what is paid out must be a multiple of: HUF and TWD are charged with decimals, and leave Stripe in whole units.
pub fn payout_step(currency: &str) -> i64 {
    match currency {
        "huf" | "twd" => 100,
        _ => charge_step(currency),
    }
}

/// What is wrong with an amount that must be a multiple of a step, if it is not.
pub fn off_step(amount: i64, step: i64, currency: &str) -> Option<String> {
    let example = format(step, currency);
    (amount % step != 0).then(|| format!("{} is no multiple of {example}", format(amount, currency)))
}

/// Reads `9.99` in a currency as its minor units; `None` when it is malformed or has more decimals than the currency.
pub fn parse(text: &str, currency: &str) -> Option<i64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let places = decimals(currency);
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(rest) || rest.len() > places || text.ends_with('.') {
        return None;
    }
    format!("{whole}{rest:0<places$}").parse().ok()
}

/// Writes minor units with the currency's decimals and code: `9.99 USD`.
pub fn format(amount: i64, currency: &str) -> String {
    let places = decimals(currency);
    let code = currency.to_ascii_uppercase();
    let sign = if amount < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", amount.unsigned_abs(), width = places + 1);
    let (whole, rest) = digits.split_at(digits.len() - places);
    if places == 0 { format!("{sign}{whole} {code}") } else { format!("{sign}{whole}.{rest} {code}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_currency_has_its_own_minor_unit() {
        assert_eq!(parse("9.99", "usd"), Some(999));
        assert_eq!(parse("10", "usd"), Some(1000));
        assert_eq!(parse("1000", "jpy"), Some(1000));
        assert_eq!(parse("1.5", "kwd"), Some(1500));
        for (bad, currency) in
            [("9.999", "usd"), ("1.5", "jpy"), ("", "usd"), ("-1", "usd"), (".5", "usd"), ("5.", "usd")]
        {
            assert_eq!(parse(bad, currency), None, "{bad:?} {currency}");
        }
        assert_eq!(format(999, "usd"), "9.99 USD");
        assert_eq!(format(5, "usd"), "0.05 USD");
        assert_eq!(format(-1500, "kwd"), "-1.500 KWD");
        assert_eq!(format(1000, "jpy"), "1000 JPY");
    }

    /// Stripe's lists, as its page on currencies has them; each currency of 135 others has two decimals and no step.
    #[test]
    fn each_currency_is_as_stripe_lists_it() {
        let zero = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf";
        let three = "bhd jod kwd omr tnd";
        // Stripe's special cases: none in life, two in the API.
        let special = "isk ugx";
        let whole_payouts = "huf twd";
        let others = "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc cve
            czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg idr ils inr jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl
            mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek
            sgd shp sle sos srd std szl thb tjs top try ttd tzs uah usd uyu uzs wst xcd yer zar zmw";
        let known = [
            (zero, 0, 1, 1),
            (three, 3, 10, 10),
            (special, 2, 100, 100),
            (whole_payouts, 2, 1, 100),
            (others, 2, 1, 1),
        ];
        for (list, places, charged, paid_out) in known {
            for currency in list.split_whitespace() {
                assert_eq!(
                    (decimals(currency), charge_step(currency), payout_step(currency)),
                    (places, charged, paid_out),
                    "{currency}"
                );
            }
        }
        assert_eq!((format(500_000, "ugx"), parse("5000", "ugx")), ("5000.00 UGX".into(), Some(500_000)));
        assert_eq!(format(500, "isk"), "5.00 ISK");
        assert_eq!(off_step(550, charge_step("isk"), "isk").as_deref(), Some("5.50 ISK is no multiple of 1.00 ISK"));
        assert_eq!(off_step(550, payout_step("huf"), "huf").as_deref(), Some("5.50 HUF is no multiple of 1.00 HUF"));
        assert_eq!((off_step(550, charge_step("huf"), "huf"), off_step(500, payout_step("twd"), "twd")), (None, None));
    }
}
