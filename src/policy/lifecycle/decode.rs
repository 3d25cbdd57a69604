//! From the shape of the provider's API to rules, with values that may be unknown.

use serde::Serialize;

use crate::model::StorageClass;
use crate::policy::span::printable;
use crate::policy::value::{Field, Node};

use super::{Action, Filter, GcsConditions, MinimumSize, Provider, Rule, RuleSet, When};

/// How to take what is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Reading {
    /// The value that ends most data soonest.
    Worst,
    /// The value that ends least.
    Best,
}

/// A value of a rule that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownValue {
    /// The rule, by name or number.
    pub rule: String,
    /// Which value: `days of expiration`.
    pub what: String,
    /// Where it stands, or what it will come from, or why it could not be read.
    pub from: String,
    /// What the worst reading takes for it.
    pub worst: String,
    /// Whether it decides about objects that hold data.
    pub touches_data: bool,
}

/// Rules read from a file, with everything that is doubtful about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Under the reading asked for.
    pub rules: RuleSet,
    /// Values that had to be assumed.
    pub unknown: Vec<UnknownValue>,
    /// A whole block that is not known: nothing can be said about these rules.
    pub undecodable: Option<String>,
}

/// A leaf after the reading was applied.
enum Got<T> {
    Absent,
    Value(T),
    /// Unknown, and in the best case it never acts.
    Never,
}

struct Decoder {
    reading: Reading,
    provider: Provider,
    rule: String,
    unknown: Vec<UnknownValue>,
    /// The best reading found a condition that may never hold.
    never: bool,
    doubts: Vec<String>,
}

/// Rules in the shape of S3's API, as in `aws s3api get-bucket-lifecycle-configuration`.
pub fn decode_s3(configuration: &Node, provider: Provider, reading: Reading) -> Decoded {
    let mut decoder = Decoder::new(provider, reading);
    let minimum = configuration.get("TransitionDefaultMinimumObjectSize");
    let mut rules = RuleSet {
        provider,
        rules: Vec::new(),
        minimum_size: minimum.text().map_or(MinimumSize::Unknown, MinimumSize::parse),
    };
    let undecodable = decoder.each(configuration.any(&["Rules", "Rule"]), "ID", &mut rules, Decoder::s3_rule);
    Decoded { rules, unknown: decoder.unknown, undecodable }
}

/// Rules in the shape of the GCS JSON API: `{"rule": [{"action": .., "condition": ..}]}`.
pub fn decode_gcs(lifecycle: &Node, reading: Reading) -> Decoded {
    let mut decoder = Decoder::new(Provider::Gcs, reading);
    let mut rules = RuleSet::empty(Provider::Gcs);
    let undecodable = decoder.each(lifecycle.get("rule"), "", &mut rules, Decoder::gcs_rule);
    Decoded { rules, unknown: decoder.unknown, undecodable }
}

impl Decoder {
    fn new(provider: Provider, reading: Reading) -> Self {
        Decoder { reading, provider, rule: String::new(), unknown: Vec::new(), never: false, doubts: Vec::new() }
    }

    fn each(
        &mut self,
        list: &Node,
        id: &str,
        rules: &mut RuleSet,
        read: fn(&mut Self, &Node) -> (bool, Filter, Vec<Action>),
    ) -> Option<String> {
        if let Node::Unknown(why) = list {
            return Some(format!("all rules are unknown: {why}"));
        }
        for (at, node) in list.items().iter().enumerate() {
            let name = node.get(id).text().unwrap_or("").to_owned();
            self.rule = if name.is_empty() { format!("rule {}", at + 1) } else { name.clone() };
            if let Node::Unknown(why) = node {
                return Some(format!("{} is unknown as a whole: {why}", self.rule));
            }
            if !matches!(node, Node::Map(_)) {
                return Some(format!("{} is not a block of settings", self.rule));
            }
            self.never = false;
            let unknown = self.unknown.len();
            let (enabled, filter, actions) = read(self, node);
            // What it does may only be known later.
            if actions.is_empty() && enabled && !self.never && self.unknown.len() == unknown {
                self.doubts.push("it does nothing".to_owned());
            }
            let enabled = enabled && !self.never;
            rules.rules.push(Rule { id: name, enabled, filter, actions, doubts: std::mem::take(&mut self.doubts) });
        }
        None
    }

    /// Applies the reading to a leaf.
    fn take<T: ToString + Clone>(&mut self, field: Field<T>, what: &str, worst: T, data: bool) -> Got<T> {
        match field {
            Field::Absent => Got::Absent,
            Field::Known(value) => Got::Value(value),
            Field::Unknown(from) => {
                self.note(what, &from, &worst.to_string(), data);
                match self.reading {
                    Reading::Worst => Got::Value(worst),
                    Reading::Best => Got::Never,
                }
            }
        }
    }

    fn note(&mut self, what: &str, from: &str, worst: &str, touches_data: bool) {
        let unknown = UnknownValue {
            rule: self.rule.clone(),
            what: what.to_owned(),
            from: from.to_owned(),
            worst: worst.to_owned(),
            touches_data,
        };
        if !self.unknown.contains(&unknown) {
            self.unknown.push(unknown);
        }
    }

    /// A condition that narrows a rule down: unknown, the worst case is that it holds for every object.
    fn condition<T>(&mut self, field: Field<T>, what: &str) -> Option<T> {
        match field {
            Field::Absent => None,
            Field::Known(value) => Some(value),
            Field::Unknown(from) => {
                self.note(what, &from, "every object", true);
                self.never |= self.reading == Reading::Best;
                None
            }
        }
    }

    fn doubt(&mut self, why: impl Into<String>) {
        self.doubts.push(why.into());
    }

    fn s3_rule(&mut self, rule: &Node) -> (bool, Filter, Vec<Action>) {
        let enabled = match rule.get("Status").as_text() {
            Field::Known(status) => status.eq_ignore_ascii_case("enabled"),
            // The API requires it; a rule without it may be anything, so it counts.
            Field::Absent => true,
            Field::Unknown(from) => {
                self.note("status", &from, "Enabled", true);
                self.reading == Reading::Worst
            }
        };
        let filter = self.s3_filter(rule);
        let mut actions = Vec::new();
        self.expiration(rule.get("Expiration"), &mut actions);
        for name in ["Transitions", "Transition"] {
            self.transitions(rule.get(name), false, &mut actions);
        }
        self.noncurrent(rule.get("NoncurrentVersionExpiration"), &mut actions);
        for name in ["NoncurrentVersionTransitions", "NoncurrentVersionTransition"] {
            self.transitions(rule.get(name), true, &mut actions);
        }
        if let Got::Value(days) =
            self.days(rule.get("DelMarkerExpiration").get("Days"), "days of DelMarkerExpiration", 1)
            && days > 0
        {
            actions.push(Action::ExpireBehindMarker { days });
        }
        let abort = rule.get("AbortIncompleteMultipartUpload").get("DaysAfterInitiation").as_count();
        match self.take(abort, "days until uploads are aborted", 1, false) {
            Got::Value(days) if days > 0 => actions.push(Action::AbortUploads { days: clamp(days) }),
            _ => {}
        }
        (enabled, filter, actions)
    }

    fn s3_filter(&mut self, rule: &Node) -> Filter {
        let mut filter = Filter::default();
        let legacy = self.condition(rule.get("Prefix").as_text(), "prefix").filter(|prefix| !prefix.is_empty());
        let node = rule.get("Filter");
        if let Node::Unknown(from) = node {
            self.condition::<()>(Field::Unknown(from.clone()), "filter");
            return filter;
        }
        let has_filter = matches!(node, Node::Map(_)) || node.text().is_some_and(str::is_empty);
        if let Node::Map(members) = node {
            const KNOWN: [&str; 5] = ["Prefix", "Tag", "And", "ObjectSizeGreaterThan", "ObjectSizeLessThan"];
            if let Some(strange) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
                self.doubt(format!(
                    "its filter holds \"{}\", which is not known: every object assumed",
                    printable(strange)
                ));
                return filter;
            }
            self.s3_conditions(node, &mut filter);
            self.s3_conditions(node.get("And"), &mut filter);
        }
        match legacy {
            Some(prefix) if has_filter => {
                self.doubt(format!(
                    "it has a filter and the deprecated prefix \"{}\" beside it: some providers drop the prefix, so the \
                     rule may apply to every object",
                    printable(&prefix)
                ));
                filter = Filter::default();
            }
            Some(prefix) => filter.prefixes = vec![prefix.into_bytes()],
            None => {}
        }
        filter
    }

    fn s3_conditions(&mut self, node: &Node, filter: &mut Filter) {
        if let Some(prefix) = self.condition(node.get("Prefix").as_text(), "prefix").filter(|prefix| !prefix.is_empty())
        {
            match filter.prefixes.first() {
                Some(first) if *first != prefix.as_bytes() => {
                    self.doubt("it has two different prefixes");
                    // The shorter reach of both would be right; the wider one is safe to assume.
                    if prefix.len() < first.len() {
                        filter.prefixes = vec![prefix.into_bytes()];
                    }
                }
                _ => filter.prefixes = vec![prefix.into_bytes()],
            }
        }
        for name in ["Tag", "Tags"] {
            match node.get(name) {
                Node::Unknown(from) => {
                    self.condition::<()>(Field::Unknown(from.clone()), "tags");
                }
                tags => {
                    for tag in tags.items() {
                        self.tag(tag, filter);
                    }
                }
            }
        }
        for (name, bound) in
            [("ObjectSizeGreaterThan", &mut filter.larger_than), ("ObjectSizeLessThan", &mut filter.smaller_than)]
        {
            // "Fewer than 0 bytes" matches nothing and is how MinIO writes "unset".
            let size = self.condition(node.get(name).as_count(), "size in the filter");
            if let Some(size) = size.filter(|size| *size > 0 || name == "ObjectSizeGreaterThan") {
                *bound = Some(size);
            }
        }
    }

    fn tag(&mut self, tag: &Node, filter: &mut Filter) {
        let key = self.condition(tag.get("Key").as_text(), "key of a tag");
        let value = self.condition(tag.get("Value").as_text(), "value of a tag");
        let unreadable = tag.unknown_within().is_some();
        if let Some(key) = key.filter(|key| !key.is_empty() && !unreadable) {
            filter.tags.push((key, value.unwrap_or_default()));
        }
    }

    fn days(&mut self, node: &Node, what: &str, worst: u64) -> Got<u32> {
        match self.take(node.as_count(), what, worst, true) {
            Got::Value(days) => Got::Value(clamp(days)),
            Got::Absent => Got::Absent,
            Got::Never => Got::Never,
        }
    }

    fn expiration(&mut self, block: &Node, actions: &mut Vec<Action>) {
        let all_versions = matches!(block.get("ExpiredObjectAllVersions").as_bool(), Field::Known(true));
        let expire = |days| Action::Expire { when: When::Days(days), all_versions };
        if let Node::Unknown(from) = block {
            self.note("expiration", from, "1 day", true);
            if self.reading == Reading::Worst {
                actions.push(expire(1));
            }
            return;
        }
        // Zero is how Terraform and MinIO write "unset"; the API itself refuses it.
        match self.days(block.get("Days"), "days of expiration", 1) {
            Got::Value(days) if days > 0 => actions.push(expire(days)),
            _ => {}
        }
        match block.get("Date").as_moment() {
            Field::Absent => {}
            Field::Known(date) => actions.push(Action::Expire { when: When::Date(date), all_versions }),
            Field::Unknown(from) => {
                self.note("date of expiration", &from, "at once", true);
                if self.reading == Reading::Worst {
                    actions
                        .push(Action::Expire { when: When::Date(crate::model::Timestamp::UNIX_EPOCH), all_versions });
                }
            }
        }
        match block.get("ExpiredObjectDeleteMarker").as_bool() {
            Field::Known(true) => actions.push(Action::RemoveLoneMarker),
            Field::Unknown(from) => self.note("removal of delete markers", &from, "true", false),
            _ => {}
        }
    }

    fn transitions(&mut self, list: &Node, noncurrent: bool, actions: &mut Vec<Action>) {
        let push = |actions: &mut Vec<Action>, when, newer, class, name: String| {
            actions.push(match (noncurrent, when) {
                (true, When::Days(days)) => Action::NoncurrentTransition { days, newer, class, name },
                _ => Action::Transition { when, class, name },
            });
        };
        if let Node::Unknown(from) = list {
            self.note("transitions", from, "DEEP_ARCHIVE at once", true);
            if self.reading == Reading::Worst {
                push(actions, When::Days(0), 0, StorageClass::DeepArchive, "DEEP_ARCHIVE".into());
            }
            return;
        }
        for node in list.items() {
            let field = node.get("StorageClass").as_text();
            let name = match self.take(field, "class of a transition", "DEEP_ARCHIVE".to_owned(), true) {
                Got::Value(name) if !name.is_empty() => name,
                // MinIO writes an empty block for "none".
                _ => continue,
            };
            let class = match self.provider {
                Provider::Minio => StorageClass::Other,
                _ => StorageClass::parse(&name),
            };
            let days = node.get(if noncurrent { "NoncurrentDays" } else { "Days" });
            let newer = self.count(node.get("NewerNoncurrentVersions"), "number of newer versions");
            match node.get("Date").as_moment() {
                Field::Known(date) => {
                    push(actions, When::Date(date), 0, class, name);
                    continue;
                }
                Field::Unknown(from) => {
                    self.note("date of a transition", &from, "at once", true);
                    if self.reading == Reading::Worst {
                        push(actions, When::Days(0), 0, class, name);
                    }
                    continue;
                }
                Field::Absent => {}
            }
            match self.days(days, "days of a transition", 0) {
                Got::Value(days) => push(actions, When::Days(days), newer, class, name),
                Got::Absent => push(actions, When::Days(0), newer, class, name),
                Got::Never => {}
            }
        }
    }

    fn count(&mut self, node: &Node, what: &str) -> u32 {
        match self.take(node.as_count(), what, 0, true) {
            Got::Value(count) => clamp(count),
            Got::Absent => 0,
            Got::Never => u32::MAX,
        }
    }

    fn noncurrent(&mut self, block: &Node, actions: &mut Vec<Action>) {
        if let Node::Unknown(from) = block {
            self.note("expiration of noncurrent versions", from, "1 day", true);
            if self.reading == Reading::Worst {
                actions.push(Action::NoncurrentExpire { days: 1, newer: 0 });
            }
            return;
        }
        let newer = self.count(block.get("NewerNoncurrentVersions"), "number of newer versions");
        match self.days(block.get("NoncurrentDays"), "days of noncurrent expiration", 1) {
            Got::Value(days) if days > 0 || newer > 0 => actions.push(Action::NoncurrentExpire { days, newer }),
            Got::Absent if newer > 0 => actions.push(Action::NoncurrentExpire { days: 0, newer }),
            _ => {}
        }
    }

    fn gcs_rule(&mut self, rule: &Node) -> (bool, Filter, Vec<Action>) {
        let mut filter = Filter::default();
        let condition = rule.get("condition");
        if let Node::Unknown(from) = condition {
            self.condition::<()>(Field::Unknown(from.clone()), "condition");
        }
        filter.prefixes = self.texts(condition.get("matchesPrefix"), "matchesPrefix");
        filter.suffixes = self.texts(condition.get("matchesSuffix"), "matchesSuffix");
        let when = self.gcs_conditions(condition);
        let action = rule.get("action");
        let kind = self.take(action.get("type").as_text(), "action", "Delete".to_owned(), true);
        let actions = match kind {
            Got::Value(kind) if kind == "Delete" => {
                if when == GcsConditions::default() && !self.never && self.unknown.iter().all(|u| u.rule != self.rule) {
                    self.doubt("no condition is left on the age of an object: it deletes at once whatever it matches");
                }
                vec![Action::GcsDelete(when)]
            }
            Got::Value(kind) if kind == "SetStorageClass" => {
                let class = action.get("storageClass").as_text();
                match self.take(class, "storage class", "ARCHIVE".to_owned(), true) {
                    Got::Value(name) => vec![Action::GcsSetClass { class: gcs_class(&name), when }],
                    _ => Vec::new(),
                }
            }
            Got::Value(kind) if kind == "AbortIncompleteMultipartUpload" => {
                vec![Action::AbortUploads { days: when.age_days.unwrap_or(0) }]
            }
            Got::Value(kind) => {
                // A word this version does not know must not be taken for harmless.
                self.note("action", &format!("\"{}\" is no known action", printable(&kind)), "Delete", true);
                if self.reading == Reading::Worst { vec![Action::GcsDelete(when)] } else { Vec::new() }
            }
            Got::Absent | Got::Never => Vec::new(),
        };
        (true, filter, actions)
    }

    fn gcs_conditions(&mut self, node: &Node) -> GcsConditions {
        const KNOWN: [&str; 11] = [
            "age",
            "createdBefore",
            "isLive",
            "numNewerVersions",
            "daysSinceNoncurrentTime",
            "noncurrentTimeBefore",
            "daysSinceCustomTime",
            "customTimeBefore",
            "matchesStorageClass",
            "matchesPrefix",
            "matchesSuffix",
        ];
        if let Node::Map(members) = node
            && let Some(strange) = members.keys().find(|name| !KNOWN.contains(&name.as_str()))
        {
            let from = format!("\"{}\" is no known condition", printable(strange));
            self.condition::<()>(Field::Unknown(from), "condition");
        }
        let mut days = |name: &str| self.condition(node.get(name).as_count(), name).map(clamp);
        let (age_days, newer_versions) = (days("age"), days("numNewerVersions"));
        let (noncurrent_days, custom_days) = (days("daysSinceNoncurrentTime"), days("daysSinceCustomTime"));
        let mut date = |name: &str| self.condition(node.get(name).as_moment(), name);
        let (created_before, noncurrent_before) = (date("createdBefore"), date("noncurrentTimeBefore"));
        let custom_before = date("customTimeBefore");
        let is_live = self.condition(node.get("isLive").as_bool(), "isLive");
        let classes = self.texts(node.get("matchesStorageClass"), "matchesStorageClass");
        let classes = classes.iter().map(|name| gcs_class(&String::from_utf8_lossy(name))).collect();
        GcsConditions {
            age_days,
            created_before,
            is_live,
            newer_versions,
            noncurrent_days,
            noncurrent_before,
            custom_days,
            custom_before,
            classes,
        }
    }

    fn texts(&mut self, list: &Node, what: &str) -> Vec<Vec<u8>> {
        if list.unknown_within().is_some() {
            let from = list.unknown_within().unwrap_or("").to_owned();
            self.condition::<()>(Field::Unknown(from), what);
            return Vec::new();
        }
        list.items().iter().filter_map(|node| node.text().map(|text| text.as_bytes().to_vec())).collect()
    }
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// GCS's older names for its standard class.
fn gcs_class(name: &str) -> StorageClass {
    match name {
        "REGIONAL" | "MULTI_REGIONAL" | "DURABLE_REDUCED_AVAILABILITY" => StorageClass::Standard,
        name => StorageClass::parse(name),
    }
}
