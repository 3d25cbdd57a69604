use std::fmt;

use serde::{Serialize, Serializer};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// `[defaults]` of the file.
    Defaults {
        /// Line in the file, from 1.
        line: u32,
    },
    /// A `[[cluster]]` of the file.
    Cluster {
        /// Its name.
        name: String,
        /// Line in the file, from 1.
        line: u32,
    },
    /// `[state]` of the file.
    State {
        /// Line in the file, from 1.
        line: u32,
    },
    /// A flag or an environment variable, by name.
    Given(String),
}

impl Origin {
    /// Line in the file, where the value comes from the file.
    pub fn line(&self) -> Option<u32> {
        match self {
            Origin::Defaults { line } | Origin::Cluster { line, .. } | Origin::State { line } => Some(*line),
            Origin::Given(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Defaults { line } => write!(f, "defaults, line {line}"),
            Origin::Cluster { name, line } => write!(f, "cluster {name}, line {line}"),
            Origin::State { line } => write!(f, "state, line {line}"),
            Origin::Given(what) => f.write_str(what),
        }
    }
}

/// A policy key: absent, or a value that remembers its origin. Absent means "not checked".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<T>(Option<(T, Origin)>);

impl<T> Default for Key<T> {
    fn default() -> Self {
        Key(None)
    }
}

impl<T> Key<T> {
    /// A value and where it came from.
    pub fn new(value: T, origin: Origin) -> Self {
        Key(Some((value, origin)))
    }

    /// The value, if the key is set.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(value, _)| value)
    }

    /// Where the value came from, if the key is set.
    pub fn origin(&self) -> Option<&Origin> {
        self.0.as_ref().map(|(_, origin)| origin)
    }

    /// Line in the file, if the value comes from it.
    pub fn line(&self) -> Option<u32> {
        self.origin().and_then(Origin::line)
    }

    /// Whether the key is set.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// This key where it is set, the other one otherwise.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Key(self.0.or(other.0))
    }
}

impl<T: Copy> Key<T> {
    /// The value by copy.
    pub fn copied(&self) -> Option<T> {
        self.get().copied()
    }
}

/// The value alone, or null.
impl<T: Serialize> Serialize for Key<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

/// One key as `policy explain` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    /// Dotted name, as in `retention.daily`.
    pub key: String,
    /// The value as it could be written in the file; `None`: not set.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Option<Origin>,
    /// Rules that judge it; empty for a setting that promises nothing.
    pub rules: &'static [&'static str],
}

/// How a value is written in an explanation.
pub trait Explain {
    /// One line.
    fn explain(&self) -> String;
}

macro_rules! explain_by_display {
    ($($name:ty),* $(,)?) => {$(
        impl Explain for $name {
            fn explain(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

explain_by_display!(
    bool,
    u32,
    u64,
    crate::policy::Span,
    crate::policy::ByteSize,
    crate::policy::Percent,
    crate::policy::Sample,
);

impl Explain for String {
    fn explain(&self) -> String {
        format!("{self:?}")
    }
}

impl<T: Explain> Explain for Vec<T> {
    fn explain(&self) -> String {
        let items: Vec<String> = self.iter().map(Explain::explain).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Defines a table of the policy once: its struct, how defaults and clusters merge key by key, how it is listed, and
/// (with feature `config`) how it is read. Four hand-written lists of forty keys would drift apart.
macro_rules! policy_table {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            keys { $( $(#[$key_meta:meta])* $key:ident : $type:ty => [$($rule:literal),*], )* }
            tables { $( $(#[$table_meta:meta])* $table:ident : $table_type:ty, )* }
            $( here { $( $(#[$flat_meta:meta])* $flat:ident : $flat_type:ty, )* } )?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        pub struct $name {
            $( $(#[$key_meta])* pub $key: $crate::policy::config::Key<$type>, )*
            $( $(#[$table_meta])* pub $table: $table_type, )*
            $( $( $(#[$flat_meta])* pub $flat: $flat_type, )* )?
        }

        impl $name {
            /// Key by key: this table's value where it is set, the other's otherwise.
            #[must_use]
            pub fn or(self, defaults: Self) -> Self {
                $name {
                    $( $key: self.$key.or(defaults.$key), )*
                    $( $table: self.$table.or(defaults.$table), )*
                    $( $( $flat: self.$flat.or(defaults.$flat), )* )?
                }
            }

            /// All keys with their values and origins, set or not; `prefix` goes before each name.
            pub fn rows(&self, prefix: &str) -> Vec<$crate::policy::config::KeyRow> {
                let mut rows = Vec::new();
                $( rows.push($crate::policy::config::KeyRow {
                    key: format!("{prefix}{}", stringify!($key)),
                    value: self.$key.get().map($crate::policy::config::Explain::explain),
                    origin: self.$key.origin().cloned(),
                    rules: &[$($rule),*],
                }); )*
                $( rows.extend(self.$table.rows(&format!("{prefix}{}.", stringify!($table)))); )*
                $( $( rows.extend(self.$flat.rows(prefix)); )* )?
                rows
            }

            #[cfg(feature = "config")]
            pub(crate) fn read(
                table: &mut $crate::policy::config::reader::Table<'_>,
                origin: &dyn Fn(u32) -> $crate::policy::config::Origin,
            ) -> Self {
                $name {
                    $( $key: match table.take::<$type>(stringify!($key)) {
                        Some((value, line)) => $crate::policy::config::Key::new(value, origin(line)),
                        None => Default::default(),
                    }, )*
                    $( $table: match table.take_table(stringify!($table)) {
                        Some(mut inner) => {
                            let read = <$table_type>::read(&mut inner, origin);
                            inner.finish();
                            read
                        }
                        None => Default::default(),
                    }, )*
                    // Keys that stand in this very table, without one of their own.
                    $( $( $flat: <$flat_type>::read(table, origin), )* )?
                }
            }
        }
    };
}

pub(crate) use policy_table;
