//! What jobs want changed, other than postings: the enums of the domains, carried without their types.

use std::{
    any::Any,
    fmt::{self, Debug},
};

use crate::engine::job::Effects;

/// A domain's own enum of changes.
pub trait Change: Any + Debug + Clone + PartialEq + Send + Sync {}

/// A change of some domain.
pub struct AnyChange(Box<dyn Carried>);

trait Carried: Any + Debug + Send + Sync {
    fn copy(&self) -> Box<dyn Carried>;
    fn is(&self, other: &dyn Any) -> bool;
}

impl<C: Change> Carried for C {
    fn copy(&self) -> Box<dyn Carried> {
        Box::new(self.clone())
    }

    fn is(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}

impl AnyChange {
    /// The change, if it is of this enum.
    pub fn of<C: Change>(&self) -> Option<&C> {
        let any: &dyn Any = &*self.0;
        any.downcast_ref()
    }
}

impl<C: Change> From<C> for AnyChange {
    fn from(change: C) -> Self {
        Self(Box::new(change))
    }
}

impl Debug for AnyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Clone for AnyChange {
    fn clone(&self) -> Self {
        Self(self.0.copy())
    }
}

impl PartialEq for AnyChange {
    fn eq(&self, other: &Self) -> bool {
        let other: &dyn Any = &*other.0;
        self.0.is(other)
    }
}

impl Eq for AnyChange {}

/// What one job's effects came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Something is new, or there was nothing to make.
    New,
    /// All of it stood already.
    Already(String),
    /// Something stands with other content; the transaction must not be committed.
    Conflict(String),
}

/// What is known of one job's effects so far.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) new: bool,
    pub(crate) already: Option<String>,
    pub(crate) conflict: Option<String>,
}

impl Verdict {
    pub(crate) fn into_applied(self) -> Applied {
        match (self.conflict, self.new, self.already) {
            (Some(what), _, _) => Applied::Conflict(what),
            (None, false, Some(what)) => Applied::Already(what),
            (None, _, _) => Applied::New,
        }
    }
}

/// Says that two transactions met over one key in one statement; repeating the transaction shows the winner's row.
pub(crate) const RACED: &str = "another transaction made the same row meanwhile";

/// The changes of one enum that a batch wants and `pick` takes, with the number of the job that wants each.
pub(crate) fn changes<'a, C: Change, T>(batch: &'a [Effects], pick: impl Fn(&'a C) -> Option<T>) -> Vec<(usize, T)> {
    let of = |effects: &'a Effects| effects.changes.iter().filter_map(AnyChange::of).filter_map(&pick);
    batch.iter().enumerate().flat_map(|(job, effects)| of(effects).map(move |change| (job, change))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    enum Light {
        On,
        Off,
    }
    impl Change for Light {}

    #[derive(Debug, Clone, PartialEq)]
    struct Door(i32);
    impl Change for Door {}

    #[test]
    fn a_change_is_equal_to_its_like_alone() {
        let on: AnyChange = Light::On.into();
        assert_eq!(on, Light::On.into());
        assert_ne!(on, Light::Off.into());
        assert_ne!(on, Door(1).into());
        assert_eq!(on.clone(), on);
    }

    #[test]
    fn changes_are_picked_by_their_enum_in_the_order_of_the_jobs() {
        let of = |changes| Effects { changes, ..Effects::done() };
        let batch = [of(vec![Door(1).into(), Light::On.into()]), of(vec![Light::Off.into(), Door(2).into()])];
        let doors: Vec<(usize, i32)> = changes(&batch, |door: &Door| Some(door.0));
        assert_eq!(doors, [(0, 1), (1, 2)]);
    }
}
