use std::collections::BTreeSet;
use std::mem::replace;
use std::path::PathBuf;

/// Number of paths that are told apart.
const MOST: usize = 256;

/// Paths that may have changed since the last scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Touched {
    /// Files, and folders whose entries have changed.
    Paths(BTreeSet<PathBuf>),
    All,
}

impl Touched {
    pub(super) const NOTHING: Self = Self::Paths(BTreeSet::new());

    pub(super) fn add(&mut self, touched: &[PathBuf]) {
        if let Self::Paths(paths) = self {
            paths.extend(touched.iter().cloned());
            if paths.len() > MOST {
                *self = Self::All;
            }
        }
    }

    /// Takes everything out and returns it.
    pub(super) fn take(&mut self) -> Self {
        replace(self, Self::NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_be_told_apart_may_be_anything() {
        let mut touched = Touched::NOTHING;
        let path = |number: usize| PathBuf::from(number.to_string());
        (0..MOST).for_each(|number| touched.add(&[path(number)]));
        touched.add(&[path(0)]);
        assert!(matches!(&touched, Touched::Paths(paths) if paths.len() == MOST));
        touched.add(&[path(MOST)]);
        assert_eq!(touched, Touched::All);
        touched.add(&[path(0)]);
        assert_eq!(touched.take(), Touched::All);
        assert_eq!(touched, Touched::NOTHING);
    }
}
