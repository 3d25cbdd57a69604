use jiff::civil::Date;
use serde::Serialize;

use crate::model::{SegmentName, Timestamp};

/// A known loss or an accepted risk: one rule is waived for one cluster until a date.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exception {
    /// Code of the rule, as in `LFC002`.
    pub rule: String,
    /// Name of the cluster.
    pub cluster: String,
    /// What of it; everything the rule finds there when nothing is said.
    pub scope: ExceptionScope,
    /// Why.
    pub reason: String,
    /// The last day it holds, in UTC.
    pub until: Date,
    /// Line in the file.
    pub line: u32,
}

/// What an exception covers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExceptionScope {
    /// Every finding of the rule.
    All,
    /// Findings about this subject.
    Subject(String),
    /// Findings about segments from the first to the last name, both included.
    Segments {
        /// First 24-digit name.
        first: SegmentName,
        /// Last 24-digit name, on the same timeline.
        last: SegmentName,
    },
    /// One finding.
    Fingerprint(String),
}

impl Exception {
    /// Whether the last day is over.
    pub fn is_expired(&self, as_of: Timestamp) -> bool {
        as_of.to_zoned(jiff::tz::TimeZone::UTC).date() > self.until
    }

    /// Whether it covers a finding, whatever its date. A range covers a finding only if `segments`, the first and last
    /// segment that the finding is about, lies wholly inside it.
    pub fn covers(
        &self,
        rule: &str,
        cluster: &str,
        subject: &str,
        segments: Option<(SegmentName, SegmentName)>,
        fingerprint: &str,
    ) -> bool {
        if self.rule != rule || self.cluster != cluster {
            return false;
        }
        match &self.scope {
            ExceptionScope::All => true,
            ExceptionScope::Subject(wanted) => wanted == subject,
            ExceptionScope::Fingerprint(wanted) => wanted == fingerprint,
            ExceptionScope::Segments { first, last } => {
                segments.is_some_and(|(from, to)| *first <= from && to <= *last)
            }
        }
    }
}

/// An `[[exception]]` block to paste, for one finding.
pub fn exception_block(rule: &str, cluster: &str, fingerprint: &str, until: Date) -> String {
    format!(
        "[[exception]]\nrule = {rule:?}\ncluster = {cluster:?}\nfingerprint = {fingerprint:?}\nreason = \"\"\nuntil = {until}\n"
    )
}

#[cfg(feature = "config")]
mod read {
    use jiff::civil::Date;

    use crate::model::SegmentName;
    use crate::policy::config::reader::{FromItem, Item, Place, Table, Value};
    use crate::policy::span::printable;

    use super::{Exception, ExceptionScope};

    impl FromItem for Date {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            let (Value::Date(text) | Value::Text(text)) = &item.value else {
                return place.refuse(item.line, "expected a date, as in 2027-03-31", None);
            };
            match text.parse::<Date>() {
                Ok(date) if text.len() == 10 => Some(date),
                _ => place.refuse(
                    item.line,
                    format!("\"{}\" is not a date; write it as in 2027-03-31", printable(text)),
                    None,
                ),
            }
        }
    }

    impl Exception {
        pub(crate) fn read(table: &mut Table<'_>) -> Option<Self> {
            let line = table.line;
            let rule = table.need::<String>("rule");
            let cluster = table.need::<String>("cluster");
            let reason = table.need::<String>("reason");
            let until = table.need::<Date>("until");
            let mut scopes = Vec::new();
            scopes.extend(table.take::<String>("subject").map(|(text, _)| ExceptionScope::Subject(text)));
            scopes.extend(table.take::<String>("fingerprint").map(|(text, _)| ExceptionScope::Fingerprint(text)));
            if let Some((text, line)) = table.take::<String>("segments") {
                match segments(&text) {
                    Some(scope) => scopes.push(scope),
                    None => table.errors.push(
                        line,
                        format!(
                            "exception.segments: \"{}\" is not a range of segments of one timeline, as in \
                             0000000100000000000000A3..0000000100000000000000A5",
                            printable(&text)
                        ),
                        None,
                    ),
                }
            }
            if scopes.len() > 1 {
                table.errors.push(line, "exception: only one of subject, segments and fingerprint", None);
            }
            let (rule, rule_line) = rule?;
            let code = rule.as_bytes();
            if code.len() != 6
                || !code[..3].iter().all(u8::is_ascii_uppercase)
                || !code[3..].iter().all(u8::is_ascii_digit)
            {
                table.errors.push(
                    rule_line,
                    format!("exception.rule: \"{}\" is not a rule code, as in LFC002", printable(&rule)),
                    None,
                );
            }
            let (reason, reason_line) = reason?;
            if reason.trim().is_empty() {
                table.errors.push(reason_line, "exception.reason: an exception needs a reason", None);
            }
            let scope = scopes.pop().unwrap_or(ExceptionScope::All);
            Some(Exception { rule, cluster: cluster?.0, scope, reason, until: until?.0, line })
        }
    }

    fn segments(text: &str) -> Option<ExceptionScope> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let name = |text: &str| SegmentName::parse(text.trim().as_bytes());
        let (first, last) = (name(first)?, name(last)?);
        (first.timeline == last.timeline && first <= last).then_some(ExceptionScope::Segments { first, last })
    }
}
