//! Amounts of money in a currency's minor unit.

/// Decimals of a currency at Stripe (Stripe: currencies, zero-decimal and three-decimal).
pub fn decimals(currency: &str) -> usize {
    match currency {
        "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "ugx" | "vnd" | "vuv"
        | "xaf" | "xof" | "xpf" => 0,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
        _ => 2,
    }
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
}
