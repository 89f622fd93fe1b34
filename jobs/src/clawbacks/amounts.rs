//! How much of a grant is to be taken back, from what Stripe says of its charge now. Pure arithmetic.
//!
//! Rules
//! - Absolute, from the original grant: what is to be gone is computed from all refunds and disputes as they stand, and the difference to
//!   what is gone already is posted. Order, repetition and delay of events therefore cannot change where it ends.
//! - Of a grant, a charge answers for the share that it paid of all that was charged (tax and all): usually the whole.
//! - Refunds in the order of their making: the first `i` of them take `floor(grant × refunded / charged)`, so each takes that less what
//!   those before it take. Pending counts as refunded; failed and cancelled take nothing (Stripe: refunds, statuses).
//! - Disputes that stand take in proportion too, in the order of their making, of what the refunds leave: Stripe withdraws the disputed
//!   amount, which may be a part of the charge (Stripe: the Dispute object, `amount`). One in another currency than its charge cannot be
//!   compared, and takes all that is left. An inquiry (`warning_…`) takes nothing, nor does a dispute that was won, or prevented by a
//!   refund. Lost stays taken.
//! - A credit note counts as a refund of its invoice by what it gave back without one, to the customer's balance or outside of Stripe
//!   (Stripe: credit notes): the `charge` is then the invoice itself. What it refunded is told by that refund.
//! - What was posted for one refund or dispute stands. Where another one that fails or is won changes its amount, the difference is
//!   posted under a key of its own; no key is ever posted twice.

use std::collections::BTreeMap;

/// A charge that paid for a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// What it took, in minor units.
    pub amount: i64,
    /// All that was charged for the same thing, in minor units; never less.
    pub total: i64,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// `re_…`
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// In minor units.
    pub amount: i64,
    /// Stripe's word.
    pub status: String,
}

/// A dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// `du_…`
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// In minor units of the charge's currency; none where it is in another.
    pub amount: Option<i64>,
    /// Stripe's word.
    pub status: String,
}

/// Why it cannot be said how much is to be taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// More went back than was taken.
    #[error("the refunds come to {refunded} minor units, but the charge took {charged}: look at both at Stripe")]
    RefundedBeyond {
        /// What the refunds come to.
        refunded: i128,
        /// What the charge took.
        charged: i64,
    },
    /// A state that this version does not know.
    #[error("{0} is {1:?}, which this version does not know")]
    Unknown(String, String),
    /// Nothing was charged, or less in all than by one.
    #[error("of {total} minor units charged in all, {amount} were by this charge")]
    Charge {
        /// By this charge.
        amount: i64,
        /// By all.
        total: i64,
    },
}

/// What a dispute means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The bank asks; no money has moved.
    Inquiry,
    /// The money is gone, for now.
    Opened,
    /// The money came back.
    Won,
    /// The money is gone for good.
    Lost,
    /// It came to nothing.
    Closed,
}

impl Stage {
    /// Reads Stripe's word (Stripe: disputes, `status`).
    pub fn of(status: &str) -> Option<Self> {
        match status {
            "warning_closed" | "prevented" => Some(Self::Closed),
            "needs_response" | "under_review" => Some(Self::Opened),
            "won" => Some(Self::Won),
            "lost" => Some(Self::Lost),
            inquiry if inquiry.starts_with("warning_") => Some(Self::Inquiry),
            _ => None,
        }
    }

    /// As the team is told of it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inquiry => "inquiry",
            Self::Opened => "opened",
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Closed => "closed",
        }
    }

    fn takes(self) -> bool {
        matches!(self, Self::Opened | Self::Lost)
    }
}

fn counts(refund: &Refund) -> Result<bool, Odd> {
    match refund.status.as_str() {
        "succeeded" | "pending" | "requires_action" => Ok(true),
        "failed" | "canceled" => Ok(false),
        other => Err(Odd::Unknown(refund.id.clone(), other.to_owned())),
    }
}

/// What is to be gone of a grant, by refund and dispute. What takes nothing is there with zero.
pub fn targets(grant: i64, paid: Paid, refunds: &[Refund], disputes: &[Dispute]) -> Result<BTreeMap<String, i64>, Odd> {
    if paid.amount <= 0 || paid.total < paid.amount {
        return Err(Odd::Charge { amount: paid.amount, total: paid.total });
    }
    // 128 bits: a grant of 2^63 millionths times an amount of 2^63 fits.
    let share = |part: i128| {
        let of = i128::from(grant) * part / i128::from(paid.total);
        i64::try_from(of).unwrap_or(grant)
    };
    let mut targets = BTreeMap::new();
    let mut refunds: Vec<&Refund> = refunds.iter().collect();
    refunds.sort_unstable_by_key(|refund| (refund.created, &refund.id));
    let mut refunded = 0_i128;
    for refund in refunds {
        let before = share(refunded);
        if counts(refund)? {
            refunded += i128::from(refund.amount);
        }
        targets.insert(refund.id.clone(), share(refunded) - before);
    }
    if refunded > i128::from(paid.amount) {
        return Err(Odd::RefundedBeyond { refunded, charged: paid.amount });
    }
    let (charged, mut gone) = (i128::from(paid.amount), refunded);
    let mut disputes: Vec<&Dispute> = disputes.iter().collect();
    disputes.sort_unstable_by_key(|dispute| (dispute.created, &dispute.id));
    for dispute in disputes {
        let stage =
            Stage::of(&dispute.status).ok_or_else(|| Odd::Unknown(dispute.id.clone(), dispute.status.clone()))?;
        let before = share(gone);
        if stage.takes() {
            let left = charged - gone;
            gone += dispute.amount.map_or(left, |amount| i128::from(amount.max(0)).min(left));
        }
        targets.insert(dispute.id.clone(), share(gone) - before);
    }
    Ok(targets)
}

/// A clawback that was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clawed {
    /// Its posting.
    pub posting: i64,
    /// The refund or dispute it was for.
    pub source: String,
    /// What it took.
    pub amount: i64,
    /// What was given back of it, in all.
    pub restored: i64,
    /// By how many postings.
    pub restores: usize,
}

/// A posting to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Take.
    Claw {
        /// The refund or dispute.
        source: String,
        /// The how-manieth for it, from 1.
        nth: usize,
        /// How much.
        amount: i64,
    },
    /// Give back of what was taken.
    Restore {
        /// The refund or dispute.
        source: String,
        /// The how-manieth for it, from 1.
        nth: usize,
        /// The posting that took it.
        of: i64,
        /// How much.
        amount: i64,
    },
}

/// The postings that lead from what is gone to what is to be gone. Of a refund or dispute that is not there any more nothing is to be gone.
pub fn moves(targets: &BTreeMap<String, i64>, clawed: &[Clawed]) -> Vec<Move> {
    let mut sources: Vec<&str> =
        targets.keys().map(String::as_str).chain(clawed.iter().map(|c| c.source.as_str())).collect();
    sources.sort_unstable();
    sources.dedup();
    let (mut claws, mut restores) = (Vec::new(), Vec::new());
    for source in sources {
        let target = targets.get(source).copied().unwrap_or(0);
        let of_source: Vec<&Clawed> = clawed.iter().filter(|c| c.source == source).collect();
        let gone: i64 = of_source.iter().map(|c| c.amount - c.restored).sum();
        if target > gone {
            let nth = of_source.len() + 1;
            claws.push(Move::Claw { source: source.to_owned(), nth, amount: target - gone });
            continue;
        }
        let mut back = gone - target;
        let mut nth = of_source.iter().map(|c| c.restores).sum::<usize>();
        // The last taken is the first given back.
        for clawed in of_source.iter().rev() {
            let amount = back.min(clawed.amount - clawed.restored);
            if amount > 0 {
                nth += 1;
                back -= amount;
                restores.push(Move::Restore { source: source.to_owned(), nth, of: clawed.posting, amount });
            }
        }
    }
    // What comes back first, so that in between no more is gone than ever was granted.
    restores.extend(claws);
    restores
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refund(id: &str, created: i64, amount: i64, status: &str) -> Refund {
        Refund { id: id.into(), created, amount, status: status.into() }
    }

    fn dispute(id: &str, status: &str) -> Dispute {
        of_amount(id, status, None)
    }

    fn of_amount(id: &str, status: &str, amount: Option<i64>) -> Dispute {
        Dispute { id: id.into(), created: 0, amount, status: status.into() }
    }

    fn whole(amount: i64) -> Paid {
        Paid { amount, total: amount }
    }

    fn of(targets: &BTreeMap<String, i64>) -> Vec<(&str, i64)> {
        targets.iter().map(|(id, amount)| (id.as_str(), *amount)).collect()
    }

    #[test]
    fn refunds_take_in_the_order_of_their_making_and_all_of_it_in_the_end() {
        let three = [
            refund("re_c", 3, 334, "pending"),
            refund("re_a", 1, 333, "succeeded"),
            refund("re_b", 2, 332, "succeeded"),
        ];
        let targets = targets(10, whole(999), &three, &[]).unwrap();
        assert_eq!(of(&targets), [("re_a", 3), ("re_b", 3), ("re_c", 4)]);
    }

    #[test]
    fn a_dispute_takes_what_refunds_left_and_a_second_one_nothing() {
        let refunds = [refund("re_a", 1, 500, "succeeded"), refund("re_b", 2, 300, "failed")];
        let open = [dispute("du_1", "needs_response"), dispute("du_2", "under_review")];
        let first = targets(200, whole(1000), &refunds, &open).unwrap();
        assert_eq!(of(&first), [("du_1", 100), ("du_2", 0), ("re_a", 100), ("re_b", 0)]);
        let won = [dispute("du_1", "won"), dispute("du_2", "lost")];
        let second = targets(200, whole(1000), &refunds, &won).unwrap();
        assert_eq!(of(&second), [("du_1", 0), ("du_2", 100), ("re_a", 100), ("re_b", 0)]);
    }

    #[test]
    fn disputes_of_a_part_take_their_part_and_never_more_than_is_left() {
        let disputes = [of_amount("du_1", "needs_response", Some(300)), of_amount("du_2", "lost", Some(900))];
        let both = targets(50, whole(999), &[], &disputes).unwrap();
        assert_eq!(of(&both), [("du_1", 15), ("du_2", 35)], "15 of 50 for 3.00 of 9.99");
        let refunds = [refund("re_1", 1, 799, "succeeded")];
        let left = targets(50, whole(999), &refunds, &disputes).unwrap();
        assert_eq!(of(&left), [("du_1", 11), ("du_2", 0), ("re_1", 39)], "2.00 are left of it");
        let won = [of_amount("du_1", "won", Some(300)), of_amount("du_2", "lost", Some(900))];
        assert_eq!(of(&targets(50, whole(999), &[], &won).unwrap()), [("du_1", 0), ("du_2", 45)]);
        let other = [of_amount("du_1", "lost", None)];
        assert_eq!(of(&targets(50, whole(999), &refunds, &other).unwrap()), [("du_1", 11), ("re_1", 39)]);
    }

    #[test]
    fn an_inquiry_and_what_is_not_known() {
        for status in ["warning_needs_response", "warning_under_review", "warning_closed", "won", "prevented"] {
            assert_eq!(of(&targets(200, whole(1000), &[], &[dispute("du", status)]).unwrap()), [("du", 0)]);
        }
        assert!(targets(200, whole(1000), &[], &[dispute("du", "appealed")]).is_err());
        assert!(targets(200, whole(1000), &[refund("re", 1, 1, "teleported")], &[]).is_err());
    }

    #[test]
    fn more_than_was_charged_is_refused() {
        let beyond = targets(200, whole(1000), &[refund("re", 1, 1001, "succeeded")], &[]);
        assert_eq!(beyond, Err(Odd::RefundedBeyond { refunded: 1001, charged: 1000 }));
        for (amount, total) in [(0, 0), (0, 5), (-1, 5), (6, 5)] {
            assert_eq!(targets(200, Paid { amount, total }, &[], &[]), Err(Odd::Charge { amount, total }));
        }
    }

    #[test]
    fn two_charges_of_one_invoice_take_their_shares() {
        let (a, b) = (Paid { amount: 600, total: 1000 }, Paid { amount: 400, total: 1000 });
        let all = |paid: Paid| targets(7, paid, &[refund("re", 1, paid.amount, "succeeded")], &[]).unwrap()["re"];
        assert_eq!((all(a), all(b)), (4, 2), "never more than the grant");
    }

    /// What the books come to after these moves.
    fn post(clawed: &mut Vec<Clawed>, keys: &mut Vec<String>, moves: Vec<Move>) {
        for one in moves {
            match one {
                Move::Claw { source, nth, amount } => {
                    keys.push(format!("clawback:{source}:{nth}"));
                    let posting = i64::try_from(clawed.len()).unwrap() + 1;
                    clawed.push(Clawed { posting, source, amount, restored: 0, restores: 0 });
                }
                Move::Restore { source, nth, of, amount } => {
                    keys.push(format!("restore:{source}:{nth}"));
                    let one = clawed.iter_mut().find(|c| c.posting == of).unwrap();
                    assert_eq!(one.source, source);
                    one.restored += amount;
                    one.restores += 1;
                }
            }
        }
    }

    const REFUNDS: [&str; 5] = ["pending", "requires_action", "succeeded", "failed", "canceled"];
    const DISPUTES: [&str; 6] =
        ["warning_needs_response", "warning_closed", "needs_response", "under_review", "won", "lost"];

    proptest! {
        // Each world is Stripe's truth at some moment; the order, repetition and loss of events only decide which moments are looked at.
        #[test]
        fn whatever_was_seen_on_the_way_the_end_is_what_the_end_says(
            grant in 1i64..10_000_000_000, charged in 1i64..10_000_000,
            amounts in prop::collection::vec(0.0f64..0.34, 0..4),
            worlds in prop::collection::vec((prop::collection::vec(0usize..5, 4), prop::collection::vec(0usize..6, 2), 0usize..5, 0usize..3), 1..12),
        ) {
            let (mut clawed, mut keys) = (Vec::new(), Vec::new());
            let mut end = (0_i128, false);
            for (statuses, stages, refunds, disputes) in worlds {
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test's amounts are small")]
                let refunds: Vec<Refund> = amounts.iter().zip(&statuses).take(refunds).enumerate()
                    .map(|(i, (part, status))| refund(&format!("re_{i}"), i64::try_from(i / 2).unwrap(), (charged as f64 * part) as i64, REFUNDS[*status]))
                    .collect();
                let disputes: Vec<Dispute> = stages.iter().take(disputes).enumerate()
                    .map(|(i, stage)| dispute(&format!("du_{i}"), DISPUTES[*stage])).collect();
                if refunds.iter().filter(|r| counts(r).unwrap()).map(|r| r.amount).sum::<i64>() > charged { continue; }
                let targets = targets(grant, whole(charged), &refunds, &disputes).unwrap();
                for _ in 0..2 {
                    let next = moves(&targets, &clawed);
                    post(&mut clawed, &mut keys, next);
                }
                prop_assert!(moves(&targets, &clawed).is_empty(), "a repetition changes nothing");
                let gone: i64 = clawed.iter().map(|c| c.amount - c.restored).sum();
                prop_assert!((0..=grant).contains(&gone), "never more than the grant");
                prop_assert!(clawed.iter().all(|c| c.amount > 0 && (0..=c.amount).contains(&c.restored)));
                end = (
                    refunds.iter().filter(|r| counts(r).unwrap()).map(|r| i128::from(r.amount)).sum(),
                    disputes.iter().any(|d| ["needs_response", "under_review", "lost"].contains(&d.status.as_str())),
                );
            }
            let gone: i64 = clawed.iter().map(|c| c.amount - c.restored).sum();
            let plain = if end.1 { i128::from(grant) } else { i128::from(grant) * end.0 / i128::from(charged) };
            prop_assert_eq!(i128::from(gone), plain);
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), count, "no key is posted twice");
        }
    }
}

#[cfg(test)]
#[path = "amounts_tests.rs"]
mod moves_tests;
