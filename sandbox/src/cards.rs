//! Stripe's test cards and test bank accounts, and what each of them does (Stripe: testing).

use serde_json::{Value, json};

use super::{
    failure::Failure,
    store::{text, with},
};

/// What happens when a card or an account is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// It pays.
    Pay,
    /// It is refused, also when it is only to be kept.
    Decline(Decline),
    /// It can be kept, and is refused when it is charged.
    DeclineCharge(Decline),
    /// Its owner must authenticate, unless it was set up for later use.
    AuthenticateOnce,
    /// Its owner must authenticate, each time.
    AuthenticateAlways,
    /// It was set up for later use; its owner must authenticate when present.
    AuthenticateHere,
    /// It is refused once its owner has authenticated.
    AuthenticateInVain(Decline),
    /// What it pays is available at once.
    PayAvailable,
    /// It pays, and the payment is disputed for this reason; an inquiry takes no money back.
    Dispute { reason: &'static str, inquiry: bool },
    /// It pays; a refund is pending at first.
    RefundLater,
    /// It pays; a refund succeeds at first.
    RefundInVain,
    /// A debit, which succeeds so many seconds later.
    Debit(i64),
    /// A debit, which fails so many seconds later.
    DebitInVain(i64, Decline),
}

/// Why a payment is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decline {
    pub code: &'static str,
    /// The bank's own reason, where the code does not say it.
    pub reason: Option<&'static str>,
    message: &'static str,
    /// What Stripe recommends to do (Stripe: advice codes).
    advice: Option<&'static str>,
}

/// A card or an account that Stripe documents.
#[derive(Debug)]
pub(crate) struct Instrument {
    pub number: &'static str,
    /// As in `pm_card_visa` and `tok_visa`; of an account as in `pm_success_de`.
    name: &'static str,
    brand: &'static str,
    country: &'static str,
    pub does: Does,
}

/// Seconds until a debit is known to have come: "at once" on Stripe's pages is not within the request.
pub(crate) const SOON: i64 = 1;
/// Seconds; Stripe: "after at least three minutes".
const DELAYED: i64 = 3 * 60;
/// Seconds until a debit from an account that no page names has come: five days.
pub(crate) const DEBIT: i64 = 5 * 24 * 60 * 60;

const fn decline(
    code: &'static str,
    reason: Option<&'static str>,
    message: &'static str,
    advice: Option<&'static str>,
) -> Decline {
    Decline { code, reason, message, advice }
}

const fn by_bank(reason: &'static str, advice: &'static str) -> Decline {
    decline("card_declined", Some(reason), "Your card was declined.", Some(advice))
}

const AGAIN: &str = "try_again_later";
const NEVER: &str = "do_not_try_again";
const GENERIC: Decline = by_bank("generic_decline", AGAIN);
const FUNDS: Decline =
    decline("card_declined", Some("insufficient_funds"), "Your card has insufficient funds.", Some(AGAIN));
const VELOCITY: Decline = decline(
    "card_declined",
    Some("card_velocity_exceeded"),
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    Some(AGAIN),
);
const EXPIRED: Decline = decline("expired_card", None, "Your card has expired.", Some(NEVER));
const CVC: Decline =
    decline("incorrect_cvc", None, "Your card's security code is incorrect.", Some("confirm_card_data"));
const PROCESSING: Decline = decline(
    "processing_error",
    None,
    "An error occurred while processing your card. Try again in a little bit.",
    Some(AGAIN),
);
const FRAUD: Decline = by_bank("fraudulent", NEVER);
/// What an owner who is not there cannot give.
pub(crate) const AUTHENTICATION: Decline = decline(
    "authentication_required",
    Some("authentication_required"),
    "Your card was declined. This transaction requires authentication.",
    None,
);
const NO_DEBIT: Decline = decline("payment_intent_payment_attempt_failed", None, "The payment failed.", None);
const NO_MONEY: Decline =
    decline("insufficient_funds", None, "The customer's account has insufficient funds to cover this payment.", None);
const NO_ACCOUNT: Decline = decline("no_account", None, "The bank account could not be located.", None);
const CLOSED: Decline = decline("account_closed", None, "The customer's bank account has been closed.", None);
const NO_MANDATE: Decline = decline(
    "debit_not_authorized",
    None,
    "The customer has notified their bank that this payment was unauthorized.",
    None,
);
const WEEKLY: Decline = decline(
    "charge_exceeds_source_limit",
    None,
    "This payment would cause the account to exceed its weekly payment volume limit.",
    None,
);

const fn visa(number: &'static str, name: &'static str, does: Does) -> Instrument {
    Instrument { number, name, brand: "visa", country: "US", does }
}

const fn pays(number: &'static str, name: &'static str, brand: &'static str, country: &'static str) -> Instrument {
    Instrument { number, name, brand, country, does: Does::Pay }
}

const fn debit(number: &'static str, name: &'static str, country: &'static str, does: Does) -> Instrument {
    Instrument { number, name, brand: "sepa_debit", country, does }
}

const fn ach(number: &'static str, name: &'static str, does: Does) -> Instrument {
    Instrument { number, name, brand: "us_bank_account", country: "US", does }
}

/// The first of a number is the one that is shown.
const CARDS: &[Instrument] = &[
    pays("4242424242424242", "visa", "visa", "US"),
    pays("4000056655665556", "visa_debit", "visa", "US"),
    pays("5555555555554444", "mastercard", "mastercard", "US"),
    pays("5200828282828210", "mastercard_debit", "mastercard", "US"),
    pays("5105105105105100", "mastercard_prepaid", "mastercard", "US"),
    pays("378282246310005", "amex", "amex", "US"),
    pays("6011111111111117", "discover", "discover", "US"),
    pays("3056930009020004", "diners", "diners", "US"),
    pays("3566002020360505", "jcb", "jcb", "US"),
    pays("6200000000000005", "unionpay", "unionpay", "US"),
    pays("4242424242424242", "us", "visa", "US"),
    pays("4000001240000000", "ca", "visa", "CA"),
    pays("4000000760000002", "br", "visa", "BR"),
    pays("4000002760000016", "de", "visa", "DE"),
    pays("4000002500000003", "fr", "visa", "FR"),
    pays("4000008260000000", "gb", "visa", "GB"),
    pays("4000003920000003", "jp", "visa", "JP"),
    pays("4000000360000006", "au", "visa", "AU"),
    visa("4000000000000002", "chargeDeclined", Does::Decline(GENERIC)),
    visa("4000000000009995", "chargeDeclinedInsufficientFunds", Does::Decline(FUNDS)),
    visa("4000000000009987", "chargeDeclinedLostCard", Does::Decline(by_bank("lost_card", NEVER))),
    visa("4000000000009979", "chargeDeclinedStolenCard", Does::Decline(by_bank("stolen_card", NEVER))),
    visa("4000000000000069", "chargeDeclinedExpiredCard", Does::Decline(EXPIRED)),
    visa("4000000000000127", "chargeDeclinedIncorrectCvc", Does::Decline(CVC)),
    visa("4000000000000119", "chargeDeclinedProcessingError", Does::Decline(PROCESSING)),
    visa("4000000000006975", "chargeDeclinedVelocityLimitExceeded", Does::Decline(VELOCITY)),
    visa("4000000000000341", "chargeCustomerFail", Does::DeclineCharge(GENERIC)),
    visa("4100000000000019", "radarBlock", Does::DeclineCharge(FRAUD)),
    visa("4100000000000019", "chargeDeclinedFraudulent", Does::DeclineCharge(FRAUD)),
    visa("4000000000004954", "riskLevelHighest", Does::DeclineCharge(FRAUD)),
    visa("4000000000009235", "riskLevelElevated", Does::Pay),
    visa("4000000000000101", "cvcCheckFail", Does::Pay),
    visa("4000000000000036", "avsZipFail", Does::Pay),
    visa("4000000000000259", "createDispute", Does::Dispute { reason: "fraudulent", inquiry: false }),
    visa(
        "4000000000002685",
        "createDisputeProductNotReceived",
        Does::Dispute { reason: "product_not_received", inquiry: false },
    ),
    visa("4000000000001976", "createDisputeInquiry", Does::Dispute { reason: "fraudulent", inquiry: true }),
    visa("4000000000007726", "pendingRefund", Does::RefundLater),
    visa("4000000000005126", "refundFail", Does::RefundInVain),
    visa("4000000000000077", "bypassPending", Does::PayAvailable),
    pays("4000003720000278", "bypassPendingInternational", "visa", "IE").at_once(),
    visa("4000002500003155", "authenticationRequiredOnSetup", Does::AuthenticateOnce),
    visa("4000002760003184", "authenticationRequired", Does::AuthenticateAlways),
    visa("4000003800000446", "authenticationRequiredSetupForOffSession", Does::AuthenticateHere),
    visa("4000008260003178", "authenticationRequiredChargeDeclinedInsufficientFunds", Does::AuthenticateInVain(FUNDS)),
    visa("4000000000003220", "threeDSecure2Required", Does::AuthenticateAlways),
    visa("4000000000003063", "threeDSecureRequired", Does::AuthenticateAlways),
    visa("4000008400001629", "threeDSecureRequiredChargeDeclined", Does::AuthenticateInVain(GENERIC)),
    visa("4000000000003055", "threeDSecureOptional", Does::Pay),
];

/// IBANs of Germany and Austria, and accounts in the United States; Stripe's pages list more of the same.
const ACCOUNTS: &[Instrument] = &[
    debit("DE89370400440532013000", "success_de", "DE", Does::Debit(SOON)),
    debit("DE08370400440532013003", "successDelayed_de", "DE", Does::Debit(DELAYED)),
    debit("DE62370400440532013001", "failed_de", "DE", Does::DebitInVain(SOON, NO_DEBIT)),
    debit("DE78370400440532013004", "failedDelayed_de", "DE", Does::DebitInVain(DELAYED, NO_DEBIT)),
    debit(
        "DE35370400440532013002",
        "disputed_de",
        "DE",
        Does::Dispute { reason: "debit_not_authorized", inquiry: false },
    ),
    debit("DE65370400440000343434", "exceedsWeeklyVolumeLimit_de", "DE", Does::DebitInVain(SOON, WEEKLY)),
    debit("DE65370400440002222227", "insufficientFunds_de", "DE", Does::DebitInVain(SOON, NO_MONEY)),
    debit("AT611904300234573201", "success_at", "AT", Does::Debit(SOON)),
    ach("000123456789", "usBankAccount_success", Does::Debit(SOON)),
    ach("000111111116", "usBankAccount_noAccount", Does::DebitInVain(SOON, NO_ACCOUNT)),
    ach("000111111113", "usBankAccount_accountClosed", Does::DebitInVain(SOON, CLOSED)),
    ach("000222222227", "usBankAccount_insufficientFunds", Does::DebitInVain(SOON, NO_MONEY)),
    ach("000333333335", "usBankAccount_debitNotAuthorized", Does::DebitInVain(SOON, NO_MANDATE)),
];

impl Instrument {
    const fn at_once(mut self) -> Self {
        self.does = Does::PayAvailable;
        self
    }

    /// `card`, `sepa_debit` or `us_bank_account`.
    pub fn kind(&self) -> &'static str {
        match self.brand {
            debit @ ("sepa_debit" | "us_bank_account") => debit,
            _ => "card",
        }
    }

    /// What a payment method shows of it, under its kind.
    pub fn shown(&self) -> Value {
        let last4 = last4(self.number);
        match self.kind() {
            "card" => {
                let checks = match self.name {
                    "cvcCheckFail" => ["pass", "fail"],
                    "avsZipFail" => ["fail", "pass"],
                    _ => ["pass", "pass"],
                };
                let funding = ["debit", "prepaid"].into_iter().find(|word| self.name.ends_with(word));
                json!({
                    "brand": self.brand,
                    "checks": { "address_line1_check": null, "address_postal_code_check": checks[0], "cvc_check": checks[1] },
                    "country": self.country,
                    "display_brand": self.brand,
                    "exp_month": 12,
                    "exp_year": 2040,
                    "fingerprint": fingerprint(self.number),
                    "funding": funding.unwrap_or("credit"),
                    "generated_from": null,
                    "last4": last4,
                    "networks": { "available": [self.brand], "preferred": null },
                    "regulated_status": "unregulated",
                    "three_d_secure_usage": { "supported": true },
                    "wallet": null,
                })
            }
            kind => account(kind, self.number),
        }
    }
}

/// What a payment method shows of a bank account.
pub(crate) fn account(kind: &str, number: &str) -> Value {
    let shared = json!({ "fingerprint": fingerprint(number), "last4": last4(number) });
    let own = if kind == "sepa_debit" {
        json!({ "bank_code": number.get(4..12), "branch_code": "", "country": number.get(..2),
            "generated_from": { "charge": null, "setup_attempt": null } })
    } else {
        json!({ "account_holder_type": "individual", "account_type": "checking", "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": null, "networks": { "preferred": "ach", "supported": ["ach"] },
            "routing_number": "110000000", "status_details": null })
    };
    with(shared, own)
}

/// A card by its number.
pub(crate) fn card(number: &str) -> Option<&'static Instrument> {
    CARDS.iter().find(|card| card.number == number)
}

/// A bank account by its number.
pub(crate) fn bank_account(number: &str) -> Option<&'static Instrument> {
    ACCOUNTS.iter().find(|account| account.number == number)
}

/// By a name such as `pm_card_visa` or `tok_visa`; Stripe writes some with the brand and some without (`visa_chargeDeclined`).
pub(crate) fn named(name: &str) -> Option<&'static Instrument> {
    if let Some(card) = name.strip_prefix("pm_card_").or_else(|| name.strip_prefix("tok_")) {
        let short = card.strip_prefix("visa_").unwrap_or(card);
        return CARDS.iter().find(|c| c.name == card).or_else(|| CARDS.iter().find(|c| c.name == short));
    }
    ACCOUNTS.iter().find(|account| name.strip_prefix("pm_") == Some(account.name))
}

/// What a payment method does.
pub(crate) fn does(method: &Value) -> Does {
    let number = text(method, "_number");
    let known = card(number).or_else(|| bank_account(number)).map(|known| known.does);
    known.unwrap_or(if text(method, "type") == "card" { Does::Pay } else { Does::Debit(DEBIT) })
}

impl Decline {
    /// As the API says it.
    pub fn failure(self) -> Failure {
        let mut failure = Failure::card(self.code, self.message);
        if let Some(reason) = self.reason {
            failure = failure.with("decline_code", reason);
        }
        if let Some(advice) = self.advice {
            failure = failure.with("advice_code", advice);
        }
        failure
    }

    /// A charge's `outcome`.
    pub fn outcome(self) -> Value {
        let blocked = self.reason == Some("fraudulent");
        json!({
            "advice_code": self.advice,
            "network_advice_code": null,
            "network_decline_code": null,
            "network_status": if blocked { "not_sent_to_network" } else { "declined_by_network" },
            "reason": if blocked { "highest_risk_level" } else { self.reason.unwrap_or(self.code) },
            "risk_level": if blocked { "highest" } else { "normal" },
            "seller_message": if blocked { "Stripe blocked this payment as too risky." } else { "The bank declined this payment." },
            "type": if blocked { "blocked" } else { "issuer_declined" },
        })
    }

    pub fn message(self) -> &'static str {
        self.message
    }
}

/// Whether the last digit of a card's number is right.
pub(crate) fn is_luhn(number: &str) -> bool {
    let digits: Option<Vec<u32>> = number.chars().rev().map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| (12..=19).contains(&digits.len())) else { return false };
    let doubled = |(place, digit): (usize, &u32)| match (place % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    digits.iter().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

fn last4(number: &str) -> &str {
    number.get(number.len().saturating_sub(4)..).unwrap_or_default()
}

/// The same for the same number, as Stripe's is; FNV-1a.
fn fingerprint(number: &str) -> String {
    let hash = number
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_found_by_its_number_and_by_its_names() {
        for name in
            ["pm_card_chargeDeclined", "pm_card_visa_chargeDeclined", "tok_chargeDeclined", "tok_visa_chargeDeclined"]
        {
            assert_eq!(named(name).unwrap().number, "4000000000000002", "{name}");
        }
        assert_eq!(named("pm_success_de").unwrap().kind(), "sepa_debit");
        assert!(named("pm_card_none").is_none() && named("visa").is_none());
        assert_eq!(card("4000056655665556").unwrap().shown()["funding"], "debit");
    }

    #[test]
    fn every_number_of_the_table_is_a_number() {
        assert!(CARDS.iter().all(|card| is_luhn(card.number)), "{CARDS:?}");
        assert!(!is_luhn("4242424242424241") && !is_luhn("") && !is_luhn("4242x"));
    }
}
