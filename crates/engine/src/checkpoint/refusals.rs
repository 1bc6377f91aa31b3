//! Refusals: a checkpoint ends with the first one, a check gathers all of them.

use crate::{Error, Result};
use std::cell::RefCell;

/// What becomes of a refusal.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// None: the first one ends it.
    gathered: Option<RefCell<Vec<Error>>>,
}

impl Refusals {
    /// Goes on after a refusal.
    pub fn gather() -> Refusals {
        Refusals {
            gathered: Some(RefCell::default()),
        }
    }

    /// What came out, or nothing where that is refused and the rest is to be looked at all the same.
    pub fn pass<T>(&self, outcome: Result<T>) -> Result<Option<T>> {
        match (outcome, &self.gathered) {
            (Err(refusal @ (Error::Refused { .. } | Error::Passing(_))), Some(gathered)) => {
                gathered.borrow_mut().push(refusal);
                Ok(None)
            }
            (outcome, _) => outcome.map(Some),
        }
    }

    /// A refusal. An error where it ends it.
    pub fn note(&self, refusal: Error) -> Result<()> {
        self.pass::<()>(Err(refusal)).map(drop)
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.gathered
            .as_ref()
            .map_or(0, |gathered| gathered.borrow().len())
    }

    /// All, in the order in which they were found.
    pub fn into_gathered(self) -> Vec<Error> {
        self.gathered.map(RefCell::into_inner).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refusal(pid: i32) -> Error {
        Error::Refused {
            what: "a thing".to_owned(),
            pid,
            place: "descriptor 3".to_owned(),
            remedy: "close it".to_owned(),
        }
    }

    #[test]
    fn a_checkpoint_ends_with_the_first() {
        let refusals = Refusals::default();
        assert_eq!(refusals.pass(Ok(7)).unwrap(), Some(7));
        assert!(refusals.note(refusal(1)).is_err());
    }

    #[test]
    fn a_check_goes_on_but_for_other_errors() {
        let refusals = Refusals::gather();
        assert_eq!(refusals.pass::<()>(Err(refusal(1))).unwrap(), None);
        refusals.note(Error::Passing(Box::new(refusal(2)))).unwrap();
        assert!(refusals.pass::<()>(Err(Error::Ended)).is_err());
        assert_eq!(refusals.count(), 2);
        let sentences: Vec<String> = refusals.into_gathered().iter().map(Error::to_string).collect();
        assert_eq!(
            sentences[1],
            "cannot checkpoint: a thing (process 2, descriptor 3); close it"
        );
    }
}
