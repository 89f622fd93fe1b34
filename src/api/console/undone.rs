//! What stays undone where a job is cancelled: said before it is.

use bursar_jobs::{
    desk::risk::{DryRun, Risk, Verdict},
    engine::kind,
};

use super::page::amount;

/// What cancelling a job leaves undone, in a sentence.
pub(super) fn said(risk: &Risk) -> String {
    let sum = risk.amount.zip(risk.currency.as_deref()).map(|(minor, currency)| amount(minor, currency));
    let of = |named: &str, else_: &str| sum.as_ref().map_or_else(|| else_.to_owned(), |sum| format!("{sum} {named}"));
    let is = |kind: kind::Kind| risk.kind == kind.name;
    let left = match risk.verdict {
        Verdict::Done => return "What it did stays: cancelling undoes nothing.".to_owned(),
        Verdict::Unknown => of("may have left, and is looked for no more", "What it sent is looked for no more"),
        Verdict::Safe
            if [kind::GRANT_PURCHASE, kind::REFILL_TIER, kind::REFILL_MONTH, kind::READ_INVOICE]
                .into_iter()
                .any(is) =>
        {
            of("stays ungranted: it was paid, and its credits are not given", "What was paid stays ungranted")
        }
        Verdict::Safe if is(kind::PAY_RECEIVER) => {
            of("stays unpaid: the receiver does not get it", "The payout stays unpaid")
        }
        Verdict::Safe if is(kind::RECORD_PAYOUT) => "What the receiver earned is not recorded, and not paid".to_owned(),
        Verdict::Safe if is(kind::OPEN_ACCOUNT) => "The user gets no initial credits".to_owned(),
        Verdict::Safe if is(kind::CLAW_BACK) || is(kind::CHECK_CHARGE) => {
            "What was refunded or disputed keeps its credits".to_owned()
        }
        Verdict::Safe if is(kind::REVERSE_TRANSFER) => "What was to be taken back stays with the receiver".to_owned(),
        Verdict::Safe if is(kind::RETURN_SPEND) => "What the sender spent is not returned".to_owned(),
        Verdict::Safe if is(kind::SEND_LETTER) => "Its letter is not sent".to_owned(),
        Verdict::Safe => of("at stake: nothing has come of it", "Nothing has come of it"),
    };
    format!("{left}, until somebody retries it.")
}

/// What cancelling all that match leaves undone, in a sentence.
pub(super) fn all(dry: &DryRun) -> String {
    let mut sums: Vec<String> = dry.amounts.iter().map(|(currency, sum)| amount(*sum, currency)).collect();
    if dry.unpriced > 0 {
        sums.push(format!("{} jobs of no known amount", dry.unpriced));
    }
    let sums = if sums.is_empty() { "nothing".to_owned() } else { sums.join(", and ") };
    format!(
        "What has not had its effect stays undone until somebody retries it: {sums}. What may have left is looked for no more."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_that_was_paid_or_is_owed_is_named() {
        let risk = |kind: &str, verdict, amount: Option<i64>| Risk {
            id: "1".into(),
            kind: kind.into(),
            verdict,
            why: String::new(),
            amount,
            currency: amount.map(|_| "usd".into()),
        };
        let of = |kind, verdict, amount| said(&risk(kind, verdict, amount));
        assert!(of("grant_purchase", Verdict::Safe, Some(2999)).starts_with("29.99 USD stays ungranted"));
        assert!(of("refill_tier", Verdict::Safe, None).starts_with("What was paid stays ungranted"));
        assert!(of("pay_receiver", Verdict::Safe, Some(100)).starts_with("1.00 USD stays unpaid"));
        assert!(of("pay_receiver", Verdict::Unknown, Some(100)).starts_with("1.00 USD may have left"));
        assert!(of("grant_purchase", Verdict::Done, Some(2999)).contains("undoes nothing"));
    }
}
