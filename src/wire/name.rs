//! A client's name for a statement or portal. Most are short, and lie where they are mentioned: a shared one would be a count that is
//! written, and a place in memory that is looked up, with each use.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use smallvec::SmallVec;

/// A longer name has memory of its own.
pub const SHORT_NAME_BYTES: usize = 24;

/// A name, perhaps the empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name(SmallVec<[u8; SHORT_NAME_BYTES]>);

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        Name(SmallVec::from_slice(name))
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn short_and_long_names_are_found_by_their_bytes() {
        let names: Vec<Vec<u8>> = [0, 1, SHORT_NAME_BYTES, SHORT_NAME_BYTES + 1].map(|bytes| vec![b'n'; bytes]).into();
        let known: HashMap<Name, usize> = names.iter().map(|name| (name.as_slice().into(), name.len())).collect();
        for name in names {
            assert_eq!(known.get(name.as_slice()), Some(&name.len()));
            assert_eq!(*Name::from(name.as_slice()).clone(), *name);
        }
    }
}
