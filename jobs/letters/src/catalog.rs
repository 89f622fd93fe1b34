//! Which letters there are, whom they are for, and which fields each may name.

/// One sort of letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// Its name, which is its template's too.
    pub name: &'static str,
    /// Whether it goes to the team, and not to a user.
    pub to_team: bool,
    /// Fields that its job always gives.
    pub given: &'static [&'static str],
    /// Fields that its job gives where they are known.
    pub maybe: &'static [&'static str],
}

/// Fields that every letter has.
pub(crate) const ALWAYS: &[&str] = &["about", "from_name"];
/// Fields that every letter to a user has.
const OF_USERS: &[&str] = &["user_id"];
/// Fields that a letter to a user has where they are known.
const MAYBE_OF_USERS: &[&str] = &["portal_url", "tier"];

/// Every letter of this version.
pub const LETTERS: &[Letter] = &[
    user("trial_will_end", &["deadline"], &["amount"]),
    user("refund_made", &["amount"], &["credits"]),
    user(
        "price_change",
        &["when", "old_price", "new_price"],
        &["old_monthly", "old_yearly", "old_other", "new_monthly", "new_yearly", "new_other"],
    ),
    user("payment_failed_first", &["amount"], &["deadline", "invoice_url"]),
    user("payment_failed_again", &["amount"], &["deadline", "invoice_url"]),
    user("payment_failed_last", &["amount"], &["deadline", "invoice_url"]),
    user("card_needed", &["amount"], &["deadline", "invoice_url"]),
    user("access_paused", &[], &["amount", "deadline", "invoice_url"]),
    user("access_ended", &[], &["amount", "deadline", "invoice_url"]),
    Letter {
        name: "dispute_opened",
        to_team: true,
        given: &["amount", "user_id", "charge", "paid_for"],
        maybe: &["reason", "deadline"],
    },
    Letter {
        name: "weekly_report",
        to_team: true,
        given: &[
            "from",
            "to",
            "payment_success",
            "mrr",
            "mrr_new",
            "mrr_returned",
            "mrr_expansion",
            "mrr_contraction",
            "mrr_churn",
            "arpu",
            "churn",
            "churn_involuntary",
            "recovered",
            "dunning",
            "credits_granted",
            "credits_taken_back",
            "credits_spent",
            "credits_expired",
            "credits_outstanding",
            "payouts_paid",
            "payouts_reversed",
            "payouts_held",
            "payouts_unknown",
            "disputes_opened",
            "disputes_waiting",
            "dead_jobs",
            "findings",
        ],
        // A letter that the version before this one enqueued has none.
        maybe: &["payouts_rejected"],
    },
];

const fn user(name: &'static str, given: &'static [&'static str], maybe: &'static [&'static str]) -> Letter {
    Letter { name, to_team: false, given, maybe }
}

/// The letter of a name.
pub fn letter(name: &str) -> Option<&'static Letter> {
    LETTERS.iter().find(|letter| letter.name == name)
}

impl Letter {
    /// Whether a field may be missing, and its line with it.
    pub(crate) fn may_miss(&self, field: &str) -> bool {
        self.maybe.contains(&field) || (!self.to_team && MAYBE_OF_USERS.contains(&field))
    }

    /// Whether a template of it may name this field.
    pub(crate) fn knows(&self, field: &str) -> bool {
        self.fields().any(|known| known == field)
    }

    /// Every field that a template of it may name.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'static str> {
        let of_users = if self.to_team { [&[][..], &[][..]] } else { [OF_USERS, MAYBE_OF_USERS] };
        [ALWAYS, self.given, self.maybe].into_iter().chain(of_users).flatten().copied()
    }
}

/// A built-in template: locale (none: English), letter, text, HTML.
pub(crate) type BuiltIn = (Option<&'static str>, &'static str, &'static str, &'static str);

macro_rules! built_in {
    ($($name:literal),+) => { &[$(
        (None, $name, include_str!(concat!("../templates/", $name, ".txt")), include_str!(concat!("../templates/", $name, ".html"))),
        (Some("de"), $name, include_str!(concat!("../templates/de/", $name, ".txt")), include_str!(concat!("../templates/de/", $name, ".html")))
    ),+] };
}

/// The texts that come with this version.
pub(crate) const BUILT_IN: &[BuiltIn] = built_in!(
    "trial_will_end",
    "refund_made",
    "price_change",
    "payment_failed_first",
    "payment_failed_again",
    "payment_failed_last",
    "card_needed",
    "access_paused",
    "access_ended",
    "dispute_opened",
    "weekly_report"
);
