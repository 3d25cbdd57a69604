//! A tree of values, some of which are known only after a plan is applied.
//!
//! Every foreign format (Terraform, CloudFormation, API JSON, XML) is read into this one shape, so that "absent" and
//! "unknown" cannot be mixed up later: a plan in which `days` is unknown does not show the key at all, and a reader that
//! takes this for "no expiration" calls the most dangerous plan harmless.

use std::collections::BTreeMap;

use crate::model::Timestamp;

use super::span::printable;

/// A value, nothing, or something that is not known yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Node {
    /// Null or missing.
    #[default]
    Absent,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// In order.
    List(Vec<Node>),
    /// By name.
    Map(BTreeMap<String, Node>),
    /// Known only later; where it stands and, if known, what it will come from.
    Unknown(String),
}

/// A leaf, read as one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field<T> {
    /// Null or missing.
    Absent,
    /// As read.
    Known(T),
    /// Not known yet (or not readable): the reason.
    Unknown(String),
}

static ABSENT: Node = Node::Absent;

impl Node {
    /// From parsed JSON.
    pub fn from_json(value: &serde_json::Value) -> Node {
        match value {
            serde_json::Value::Null => Node::Absent,
            serde_json::Value::Bool(value) => Node::Bool(*value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) => Node::Int(number),
                None => Node::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Node::Text(text.clone()),
            serde_json::Value::Array(items) => Node::List(items.iter().map(Node::from_json).collect()),
            serde_json::Value::Object(entries) => {
                Node::Map(entries.iter().map(|(name, value)| (name.clone(), Node::from_json(value))).collect())
            }
        }
    }

    /// A map from entries; absent ones are left out.
    pub fn map<const N: usize>(entries: [(&str, Node); N]) -> Node {
        let entries = entries.into_iter().filter(|(_, node)| !node.is_absent());
        Node::Map(entries.map(|(name, node)| (name.to_owned(), node)).collect())
    }

    /// A member; members of something unknown are unknown.
    pub fn get(&self, name: &str) -> &Node {
        match self {
            Node::Map(entries) => entries.get(name).unwrap_or(&ABSENT),
            Node::Unknown(_) => self,
            _ => &ABSENT,
        }
    }

    /// The first member of several names that is not absent.
    pub fn any(&self, names: &[&str]) -> &Node {
        names.iter().map(|name| self.get(name)).find(|node| !node.is_absent()).unwrap_or(&ABSENT)
    }

    /// A block that some formats write as a list of at most one element.
    pub fn block(&self) -> &Node {
        match self {
            Node::List(items) => items.first().unwrap_or(&ABSENT),
            other => other,
        }
    }

    /// Elements; a single value is a list of one.
    pub fn items(&self) -> &[Node] {
        match self {
            Node::List(items) => items,
            Node::Absent => &[],
            other => std::slice::from_ref(other),
        }
    }

    /// Null or missing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Node::Absent)
    }

    /// Whether this very value is unknown.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Node::Unknown(_))
    }

    /// Whether anything in here is unknown: the first reason.
    pub fn unknown_within(&self) -> Option<&str> {
        match self {
            Node::Unknown(why) => Some(why),
            Node::List(items) => items.iter().find_map(Node::unknown_within),
            Node::Map(entries) => entries.values().find_map(Node::unknown_within),
            _ => None,
        }
    }

    /// Text, if that is what it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text field; a number counts as its digits.
    pub fn as_text(&self) -> Field<String> {
        match self {
            Node::Absent => Field::Absent,
            Node::Text(text) => Field::Known(text.clone()),
            Node::Int(number) => Field::Known(number.to_string()),
            Node::Unknown(why) => Field::Unknown(why.clone()),
            _ => Field::Unknown("not a text".into()),
        }
    }

    /// A count. Older schemas write numbers as text, and empty text for nothing.
    pub fn as_count(&self) -> Field<u64> {
        match self {
            Node::Absent => Field::Absent,
            Node::Int(number) => match u64::try_from(*number) {
                Ok(number) => Field::Known(number),
                Err(_) => Field::Unknown(format!("{number} is no count")),
            },
            Node::Float(number) if number.fract() == 0.0 && (0.0..9e15).contains(number) => {
                Field::Known(*number as u64)
            }
            Node::Text(text) if text.trim().is_empty() => Field::Absent,
            Node::Text(text) => match text.trim().parse() {
                Ok(number) => Field::Known(number),
                Err(_) => Field::Unknown(format!("\"{}\" is no count", printable(text))),
            },
            Node::Unknown(why) => Field::Unknown(why.clone()),
            _ => Field::Unknown("not a number".into()),
        }
    }

    /// True or false, also as text.
    pub fn as_bool(&self) -> Field<bool> {
        match self {
            Node::Absent => Field::Absent,
            Node::Bool(value) => Field::Known(*value),
            Node::Text(text) if text.trim().is_empty() => Field::Absent,
            Node::Text(text) if text.eq_ignore_ascii_case("true") => Field::Known(true),
            Node::Text(text) if text.eq_ignore_ascii_case("false") => Field::Known(false),
            Node::Unknown(why) => Field::Unknown(why.clone()),
            _ => Field::Unknown("not true or false".into()),
        }
    }

    /// A date or a moment. Midnight of 0001-01-01 is how some tools write "unset".
    pub fn as_moment(&self) -> Field<Timestamp> {
        match self.as_text() {
            Field::Known(text) if text.trim().is_empty() => Field::Absent,
            Field::Known(text) => match moment(&text) {
                Some(moment) if moment.as_second() < -62_000_000_000 => Field::Absent,
                Some(moment) => Field::Known(moment),
                None => Field::Unknown(format!("\"{}\" is no date", printable(&text))),
            },
            Field::Absent => Field::Absent,
            Field::Unknown(why) => Field::Unknown(why),
        }
    }

    /// The same tree with every zero left out: how some schemas write "unset".
    pub fn without_zero(&self) -> Node {
        match self {
            Node::Int(0) => Node::Absent,
            Node::Float(number) if *number == 0.0 => Node::Absent,
            Node::Text(text) if text.trim() == "0" || text.trim().is_empty() => Node::Absent,
            other => other.clone(),
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Node::Text(text.to_owned())
    }
}

/// `2027-01-01`, `2027-01-01T00:00:00Z`, with or without a fraction and an offset.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    // Without a zone all these formats mean UTC.
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_unknown_stay_apart() {
        let tree = Node::map([("a", Node::Unknown("a".into())), ("b", Node::Absent), ("c", Node::Int(0))]);
        assert!(tree.get("a").get("x").is_unknown());
        assert!(tree.get("b").is_absent());
        assert_eq!(tree.get("c").as_count(), Field::Known(0));
        assert!(tree.get("c").without_zero().is_absent());
        assert_eq!(tree.unknown_within(), Some("a"));
    }

    #[test]
    fn numbers_and_dates_come_in_many_forms() {
        assert_eq!(Node::from("128").as_count(), Field::Known(128));
        assert_eq!(Node::from("").as_count(), Field::Absent);
        assert_eq!(Node::Float(30.0).as_count(), Field::Known(30));
        assert!(matches!(Node::Int(-1).as_count(), Field::Unknown(_)));
        assert_eq!(Node::from("0001-01-01T00:00:00Z").as_moment(), Field::Absent);
        assert_eq!(Node::from("2027-01-01").as_moment(), Node::from("2027-01-01T00:00:00.000Z").as_moment());
        assert_eq!(Node::from("2027-01-01T00:00:00").as_moment(), Node::from("2027-01-01T00:00:00+00:00").as_moment());
        assert!(matches!(Node::from("soon").as_moment(), Field::Unknown(_)));
    }
}
