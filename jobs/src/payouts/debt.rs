//! What a payout comes to, in numbers: a pure account of what was sent, what came back, what is owed no more, and which debts are carried
//! over to later payouts. All amounts are minor units of one currency.
//!
//! Rules
//! - What leaves for a payout is its amount less what was netted: never more, and never less than nothing.
//! - What is undone of a payout is owed no more: at most all of it. What of that did not come back from Stripe is carried: the receiver's
//!   debt, until later payouts settle it, or until it does come back.
//! - When all that was sent is undone, the payout is reversed, and what had been netted from it is carried anew.
//! - What comes back beyond what could be undone first makes up for the carried debt, and then is owed to the receiver again.

/// A payout in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// What the job earned.
    pub amount: i64,
    /// What of that settled debts of its receiver.
    pub netted: i64,
    /// What came back of its Transfer.
    pub returned: i64,
    /// What of the amount is owed no more.
    pub undone: i64,
    /// What of that did not come back.
    pub carried: i64,
    /// What of the carried debt was settled since.
    pub recovered: i64,
}

/// What changes of a payout's numbers; each is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Came back from Stripe.
    pub returned: i64,
    /// Is owed no more.
    pub undone: i64,
    /// Did not come back, and is the receiver's debt.
    pub carried: i64,
    /// Came back, and settles carried debt; or goes beyond it.
    pub recovered: i64,
}

/// A debt that an earlier payout carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// The earlier payout's job.
    pub job_id: String,
    /// What is open of it; below zero where more came back than was undone.
    pub open: i64,
}

/// A part of a payout that settles a debt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netting {
    /// The earlier payout whose debt it is.
    pub job_id: String,
    /// More than zero.
    pub amount: i64,
}

impl Sums {
    /// What its Transfer sends, or sent.
    pub const fn sent(&self) -> i64 {
        self.amount - self.netted
    }

    /// What of the sent can still be undone.
    pub fn left(&self) -> i64 {
        (self.sent() - self.undone).max(0)
    }

    /// Whether nothing of it is owed, nor was kept.
    pub const fn is_reversed(&self) -> bool {
        self.undone >= self.amount
    }

    /// So much came back of its Transfer.
    pub fn take_back(&self, amount: i64) -> Step {
        let undone = amount.min(self.left());
        self.completed(Step { returned: amount, undone, carried: 0, recovered: amount - undone })
    }

    /// So much should have come back, and did not.
    pub fn carry(&self, amount: i64) -> Step {
        let undone = amount.min(self.left());
        self.completed(Step { undone, carried: undone, ..Step::default() })
    }

    /// Nothing was sent, and nothing will be.
    pub fn undo_unsent(&self) -> Step {
        Step { undone: self.amount - self.undone, carried: self.netted, ..Step::default() }
    }

    /// All that was sent is undone: so is what was netted, which the receiver owes again.
    fn completed(&self, step: Step) -> Step {
        let undone = self.undone + step.undone;
        if undone < self.sent() || undone >= self.amount {
            return step;
        }
        let rest = self.amount - undone;
        Step { undone: step.undone + rest, carried: step.carried + rest, ..step }
    }

    /// The numbers after a step.
    #[must_use]
    pub const fn after(self, step: Step) -> Self {
        Self {
            returned: self.returned + step.returned,
            undone: self.undone + step.undone,
            carried: self.carried + step.carried,
            recovered: self.recovered + step.recovered,
            ..self
        }
    }
}

/// What of a payout settles its receiver's debts, oldest first: never more than the payout, nor than is open in all.
pub fn net(amount: i64, carriers: &[Carrier]) -> Vec<Netting> {
    let open: i64 = carriers.iter().map(|carrier| carrier.open).fold(0, i64::saturating_add);
    let mut left = amount.min(open).max(0);
    let mut nettings = Vec::new();
    for carrier in carriers.iter().filter(|carrier| carrier.open > 0) {
        let part = left.min(carrier.open);
        if part > 0 {
            nettings.push(Netting { job_id: carrier.job_id.clone(), amount: part });
            left -= part;
        }
    }
    nettings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn carrier(job_id: &str, open: i64) -> Carrier {
        Carrier { job_id: job_id.into(), open }
    }

    #[test]
    fn debts_are_settled_oldest_first_and_never_beyond_the_payout() {
        let debts = [carrier("a", 30), carrier("b", 0), carrier("c", 100)];
        let parts = |amount| net(amount, &debts).into_iter().map(|n| (n.job_id, n.amount)).collect::<Vec<_>>();
        assert_eq!(parts(20), [("a".to_owned(), 20)]);
        assert_eq!(parts(100), [("a".to_owned(), 30), ("c".to_owned(), 70)]);
        assert_eq!(parts(500), [("a".to_owned(), 30), ("c".to_owned(), 100)]);
        assert_eq!(net(50, &[carrier("a", 30), carrier("b", -30)]), []);
        assert_eq!(net(50, &[]), []);
    }

    #[test]
    fn a_debt_that_comes_back_after_all_is_no_debt() {
        let paid = Sums { amount: 100, ..Sums::default() };
        let carried = paid.after(paid.carry(100));
        assert!(carried.is_reversed());
        let back = carried.after(carried.take_back(100));
        assert_eq!((back.carried, back.recovered, back.undone), (100, 100, 100));
    }

    #[test]
    fn what_was_netted_is_carried_anew_once_all_that_was_sent_is_undone() {
        let paid = Sums { amount: 100, netted: 40, ..Sums::default() };
        let half = paid.after(paid.take_back(30));
        assert_eq!((half.undone, half.carried, half.is_reversed()), (30, 0, false));
        let all = half.after(half.take_back(30));
        assert_eq!((all.undone, all.carried, all.is_reversed()), (100, 40, true));
    }

    /// What may happen to the payouts of one receiver.
    #[derive(Debug, Clone)]
    enum Deed {
        Earn(i64),
        Pay(usize),
        /// Stripe reverses so much of a Transfer, whoever asked.
        Back(usize, i64),
        /// Stripe has not the money.
        Refuse(usize, i64),
        /// Reversed before it was sent.
        Undo(usize),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            3 => (1..200_i64).prop_map(Deed::Earn),
            3 => (0..12_usize).prop_map(Deed::Pay),
            2 => (0..12_usize, 1..200_i64).prop_map(|(i, r)| Deed::Back(i, r)),
            2 => (0..12_usize, 1..200_i64).prop_map(|(i, r)| Deed::Refuse(i, r)),
            1 => (0..12_usize).prop_map(Deed::Undo),
        ]
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum State {
        Held,
        Paid,
        Reversed,
    }

    proptest! {
        /// What left for a receiver, less what came back, is what the receiver earned, less what was reversed, as far as it is settled; and
        /// what is open either way is exactly the balance of the receiver's account.
        #[test]
        fn what_left_is_what_was_owed_less_what_was_reversed(deeds in prop::collection::vec(deed(), 1..60)) {
            let mut payouts: Vec<(State, Sums)> = Vec::new();
            // The receiver's account in the ledger, and what Stripe moved.
            let (mut account, mut moved) = (0_i64, 0_i64);
            for deed in deeds {
                match deed {
                    Deed::Earn(amount) => {
                        payouts.push((State::Held, Sums { amount, ..Sums::default() }));
                        account += amount;
                    }
                    Deed::Pay(i) if i < payouts.len() && payouts[i].0 == State::Held => {
                        let carriers: Vec<Carrier> = payouts.iter().enumerate()
                            .map(|(i, (_, s))| carrier(&i.to_string(), s.carried - s.recovered)).collect();
                        let nettings = net(payouts[i].1.amount, &carriers);
                        for netting in &nettings {
                            prop_assert!(netting.amount > 0);
                            let of: usize = netting.job_id.parse().unwrap();
                            payouts[of].1.recovered += netting.amount;
                            prop_assert!(payouts[of].1.recovered <= payouts[of].1.carried);
                        }
                        payouts[i].1.netted = nettings.iter().map(|n| n.amount).sum();
                        let sent = payouts[i].1.sent();
                        prop_assert!((0..=payouts[i].1.amount).contains(&sent), "never a negative send");
                        payouts[i].0 = State::Paid;
                        account -= sent;
                        moved += sent;
                    }
                    Deed::Back(i, r) if i < payouts.len() && payouts[i].0 != State::Held => {
                        // Stripe never reverses more than was sent.
                        let sums = payouts[i].1;
                        let was_sent = if payouts[i].0 == State::Reversed && sums.returned == 0 && sums.carried == sums.netted { 0 } else { sums.sent() };
                        let r = r.min(was_sent - sums.returned);
                        if r > 0 {
                            let step = sums.take_back(r);
                            account += step.returned - step.undone;
                            moved -= r;
                            payouts[i].1 = sums.after(step);
                        }
                    }
                    Deed::Refuse(i, r) if i < payouts.len() && payouts[i].0 == State::Paid => {
                        let step = payouts[i].1.carry(r);
                        account -= step.undone;
                        payouts[i].1 = payouts[i].1.after(step);
                    }
                    Deed::Undo(i) if i < payouts.len() && payouts[i].0 == State::Held => {
                        let step = payouts[i].1.undo_unsent();
                        account -= step.undone;
                        payouts[i].1 = payouts[i].1.after(step);
                        payouts[i].0 = State::Reversed;
                    }
                    _ => {}
                }
                for (state, sums) in &mut payouts {
                    prop_assert!((0..=sums.amount).contains(&sums.undone));
                    prop_assert!((0..=sums.undone).contains(&sums.carried));
                    if *state == State::Paid && sums.is_reversed() {
                        *state = State::Reversed;
                    }
                }
                let held: i64 = payouts.iter().filter(|(state, _)| *state == State::Held).map(|(_, s)| s.sent()).sum();
                let debts: i64 = payouts.iter().map(|(_, s)| s.carried - s.recovered).sum();
                prop_assert_eq!(account, held - debts);
                let owed: i64 = payouts.iter().map(|(_, s)| s.amount - s.undone).sum();
                prop_assert_eq!(moved, owed - held + debts, "what left is what is owed, but for what is held and carried");
            }
        }
    }
}
