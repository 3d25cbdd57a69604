use serde::{Deserialize, Serialize};

/// A value, or the reason why it is not known: "could not look" is never mistaken for "looked, fine".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known<T> {
    /// The value as found.
    Value(T),
    /// Why there is none, in words a person can act on.
    Unknown(String),
}

impl<T> Known<T> {
    /// An absence with its reason.
    pub fn unknown(why: impl Into<String>) -> Self {
        Known::Unknown(why.into())
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<&T> {
        match self {
            Known::Value(value) => Some(value),
            Known::Unknown(_) => None,
        }
    }

    /// Why there is no value.
    pub fn why(&self) -> Option<&str> {
        match self {
            Known::Value(_) => None,
            Known::Unknown(why) => Some(why),
        }
    }

    /// Whether there is a value.
    pub fn is_known(&self) -> bool {
        matches!(self, Known::Value(_))
    }

    /// A value from an option, or the reason for its absence.
    pub fn from_option(value: Option<T>, why: impl Into<String>) -> Self {
        value.map_or_else(|| Known::unknown(why), Known::Value)
    }
}

impl<T: Copy> Known<T> {
    /// The value by copy, if there is one.
    pub fn copied(&self) -> Option<T> {
        self.get().copied()
    }
}
