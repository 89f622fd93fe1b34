//! The machine of a payout: its state, what is seen, its next state, and what is done.
//!
//! A pure function, like the [machine of the call](crate::engine::call::machine) that it stands on; the check of every interleaving
//! (`jobs/tests/payout_model.rs`) runs both as they are.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> held: verified, Stripe on
//!     [*] --> skipped: verified, Stripe off
//!     held --> sending: its account is active: the intent is committed, then the request leaves
//!     sending --> paid: Stripe made the Transfer
//!     sending --> unknown: no answer, or none that can be read
//!     sending --> held: the account is gone, or transfers to it are not active after all
//!     sending --> rejected: Stripe refused it
//!     unknown --> paid: found by looking, or made under the same key
//!     unknown --> held: the same as from sending
//!     unknown --> rejected: the same
//!     unknown --> sending: the platform's balance does not suffice: waits
//!     held --> paid: all of it settled earlier debts, and no Transfer is made
//!     skipped --> held: released by an operator
//!     rejected --> held: released by an operator
//!     held --> reversed: taken back by an operator, nothing was sent
//!     skipped --> reversed: the same
//!     rejected --> reversed: the same
//!     paid --> reversed: all of it came back, or is carried
//! ```

use bursar_stripe::StripeError;

/// Where a payout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Waits for an account to which transfers are active, or for being sent at all.
    Held,
    /// An intent is committed.
    Sending,
    /// It may have been sent.
    Unknown,
    /// Its Transfer is known.
    Paid,
    /// Stripe refused it; an operator looks.
    Rejected,
    /// Stripe was off; an operator lets it go.
    Skipped,
    /// Its Transfer was taken back.
    Reversed,
}

impl State {
    const ALL: [Self; 7] =
        [Self::Held, Self::Sending, Self::Unknown, Self::Paid, Self::Rejected, Self::Skipped, Self::Reversed];

    /// As the database and the command line name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Paid => "paid",
            Self::Rejected => "rejected",
            Self::Skipped => "skipped",
            Self::Reversed => "reversed",
        }
    }

    /// Reads it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// An attempt begins.
    Begins {
        /// The receiver has an account to which transfers are active, and nothing else holds it.
        ready: bool,
    },
    /// Stripe made the Transfer.
    Made,
    /// What became of it is not known.
    NotKnown,
    /// Stripe refused it.
    Refused {
        /// For what reason.
        why: Refusal,
        /// Whether the refusal stands under the key, so that the next generation may be used.
        saved: bool,
    },
    /// An operator lets it go.
    Released,
    /// All of it settles earlier debts of its receiver.
    Netted,
    /// All of it is undone: it came back, is carried, or had never been sent.
    Undone,
}

/// Why Stripe refuses a Transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// `balance_insufficient`
    Balance,
    /// The receiver's account is gone, or transfers to it are not active.
    Account,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Reads Stripe's error. A Transfer names one object, its destination: what is missing is that.
    pub fn of(error: &StripeError) -> Self {
        match error.code.as_deref() {
            Some("balance_insufficient") => Self::Balance,
            Some("insufficient_capabilities_for_transfer") => Self::Account,
            Some("resource_missing") if error.param.is_none() => Self::Account,
            Some(_) | None if error.is_account_gone("destination") => Self::Account,
            Some(_) | None => Self::Other,
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Nothing: it is over, or it is not for a job to do.
    Nothing,
    /// The Transfer goes out, under an intent that is committed with the state.
    Send,
    /// It waits for its receiver.
    Hold,
    /// The Transfer is booked.
    Book,
    /// It waits, and goes on by itself.
    Wait,
    /// It waits for its receiver, whose account is taken for inactive until Stripe was asked.
    Deactivate,
    /// An operator looks.
    Leave,
    /// A job sends it, or holds it again.
    Enqueue,
}

/// The one step of the machine.
pub const fn turn(state: State, seen: Seen) -> (State, Act) {
    match (state, seen) {
        (State::Held, Seen::Begins { ready: true }) => (State::Sending, Act::Send),
        (State::Held, Seen::Begins { ready: false }) => (State::Held, Act::Hold),
        // What has an intent is brought to its end, whatever became of the account.
        (State::Sending | State::Unknown, Seen::Begins { .. }) => (state, Act::Send),
        (State::Held | State::Sending | State::Unknown | State::Rejected, Seen::Made) | (State::Held, Seen::Netted) => {
            (State::Paid, Act::Book)
        }
        (State::Held | State::Sending | State::Unknown | State::Rejected, Seen::NotKnown) => {
            (State::Unknown, Act::Leave)
        }
        (State::Sending | State::Unknown, Seen::Refused { why: Refusal::Balance, saved: true }) => {
            (State::Sending, Act::Wait)
        }
        // Saved or not: what comes next goes by the call's own rules, under the next generation or under the same key.
        (State::Sending | State::Unknown, Seen::Refused { why: Refusal::Account, .. }) => {
            (State::Held, Act::Deactivate)
        }
        (State::Sending | State::Unknown, Seen::Refused { .. }) => (State::Rejected, Act::Leave),
        (State::Held | State::Skipped | State::Rejected, Seen::Released) => (State::Held, Act::Enqueue),
        (State::Sending | State::Unknown, Seen::Released) => (state, Act::Enqueue),
        (State::Held | State::Skipped | State::Rejected | State::Paid, Seen::Undone) => (State::Reversed, Act::Book),
        (
            State::Paid | State::Reversed,
            Seen::Begins { .. } | Seen::Made | Seen::NotKnown | Seen::Refused { .. } | Seen::Released | Seen::Netted,
        )
        | (State::Skipped, Seen::Begins { .. } | Seen::Made | Seen::NotKnown | Seen::Refused { .. } | Seen::Netted)
        | (State::Rejected, Seen::Begins { .. } | Seen::Refused { .. } | Seen::Netted)
        // What may be under way is neither settled nor undone before that is known.
        | (State::Sending | State::Unknown, Seen::Netted | Seen::Undone)
        | (State::Reversed, Seen::Undone)
        | (State::Held, Seen::Refused { .. }) => (state, Act::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_as_it_is_named() {
        let names = ["held", "sending", "unknown", "paid", "rejected", "skipped", "reversed"];
        assert_eq!(State::ALL.map(State::name), names);
        assert_eq!(names.map(State::parse), State::ALL.map(Some));
        assert_eq!(State::parse("failed"), None);
    }

    #[test]
    fn every_way_to_say_that_an_account_is_gone_is_read() {
        let error = |code: Option<&str>, param: Option<&str>| StripeError {
            code: code.map(str::to_owned),
            param: param.map(str::to_owned),
            ..StripeError::default()
        };
        for (code, param, why) in [
            (Some("resource_missing"), Some("destination"), Refusal::Account),
            (Some("resource_missing"), None, Refusal::Account),
            (Some("account_invalid"), None, Refusal::Account),
            (Some("account_closed"), None, Refusal::Account),
            (Some("insufficient_capabilities_for_transfer"), None, Refusal::Account),
            (Some("resource_missing"), Some("source_transaction"), Refusal::Other),
            (Some("balance_insufficient"), None, Refusal::Balance),
            (Some("transfers_not_allowed"), Some("destination"), Refusal::Other),
            (None, Some("destination"), Refusal::Other),
        ] {
            assert_eq!(Refusal::of(&error(code, param)), why, "{code:?} {param:?}");
        }
        for state in [State::Sending, State::Unknown] {
            for saved in [true, false] {
                let refused = Seen::Refused { why: Refusal::Account, saved };
                assert_eq!(turn(state, refused), (State::Held, Act::Deactivate), "saved: {saved}");
            }
        }
    }

    #[test]
    fn nothing_moves_what_is_paid_or_reversed() {
        let refused = |why, saved| Seen::Refused { why, saved };
        for seen in [
            Seen::Begins { ready: true },
            Seen::Made,
            Seen::NotKnown,
            Seen::Released,
            refused(Refusal::Balance, true),
            refused(Refusal::Account, true),
            refused(Refusal::Other, false),
        ] {
            for state in [State::Paid, State::Reversed] {
                assert_eq!(turn(state, seen), (state, Act::Nothing));
            }
        }
        assert_eq!(turn(State::Paid, Seen::Undone), (State::Reversed, Act::Book), "but for its being undone");
        assert_eq!(turn(State::Reversed, Seen::Undone), (State::Reversed, Act::Nothing));
    }

    #[test]
    fn what_may_be_under_way_is_neither_settled_nor_undone() {
        for state in [State::Sending, State::Unknown] {
            for seen in [Seen::Netted, Seen::Undone] {
                assert_eq!(turn(state, seen), (state, Act::Nothing));
            }
        }
    }
}
