//! Puts what is known only after apply over what is known.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::policy::value::Node;

/// `after` with every value that `after_unknown` marks replaced by [`Node::Unknown`] with its path. A plan leaves such
/// keys out of `after` altogether.
pub(super) fn overlay(after: &Value, unknown: &Value, path: &str) -> Node {
    match unknown {
        Value::Bool(true) => Node::Unknown(if path.is_empty() { "the whole resource".into() } else { path.to_owned() }),
        Value::Object(marks) if marks.values().any(has_mark) => {
            let mut entries: BTreeMap<String, Node> = match after {
                Value::Object(known) => {
                    known.iter().map(|(name, value)| (name.clone(), Node::from_json(value))).collect()
                }
                _ => BTreeMap::new(),
            };
            for (name, mark) in marks {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if has_mark(mark) {
                    let known = after.get(name).unwrap_or(&Value::Null);
                    entries.insert(name.clone(), overlay(known, mark, &path));
                }
            }
            Node::Map(entries)
        }
        Value::Array(marks) if marks.iter().any(has_mark) => {
            let known = after.as_array().map_or(&[][..], Vec::as_slice);
            let count = known.len().max(marks.len());
            let each = |at: usize| {
                let known = known.get(at).unwrap_or(&Value::Null);
                overlay(known, marks.get(at).unwrap_or(&Value::Null), &format!("{path}[{at}]"))
            };
            Node::List((0..count).map(each).collect())
        }
        _ => Node::from_json(after),
    }
}

fn has_mark(marks: &Value) -> bool {
    match marks {
        Value::Bool(mark) => *mark,
        Value::Array(items) => items.iter().any(has_mark),
        Value::Object(entries) => entries.values().any(has_mark),
        _ => false,
    }
}

/// Texts of `value` that `marks` calls sensitive; whether there is any mark at all.
pub(super) fn sensitive(value: &Value, marks: &Value, texts: &mut Vec<String>) -> bool {
    match (marks, value) {
        (Value::Bool(true), value) => {
            collect(value, texts);
            true
        }
        (Value::Object(marks), value) => marks
            .iter()
            .fold(false, |any, (name, mark)| sensitive(value.get(name).unwrap_or(&Value::Null), mark, texts) || any),
        (Value::Array(marks), value) => marks
            .iter()
            .enumerate()
            .fold(false, |any, (at, mark)| sensitive(value.get(at).unwrap_or(&Value::Null), mark, texts) || any),
        _ => false,
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        // Short texts would blank out half of a report and give nothing away.
        Value::String(text) if text.len() > 2 && !texts.contains(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(entries) => entries.values().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_unknown_is_not_absent() {
        let node = overlay(
            &json!({"rule": [{"expiration": [{"date": null}], "id": "a"}], "bucket": "b"}),
            &json!({"rule": [{"expiration": [{"days": true}]}], "id": true, "tags": {}}),
            "",
        );
        let rule = &node.get("rule").items()[0];
        assert_eq!(rule.get("id").text(), Some("a"));
        assert_eq!(rule.get("expiration").block().get("days"), &Node::Unknown("rule[0].expiration[0].days".into()));
        assert!(rule.get("expiration").block().get("date").is_absent());
        assert_eq!(node.get("id"), &Node::Unknown("id".into()));
        assert_eq!(node.get("bucket").text(), Some("b"));
        assert!(overlay(&json!({"a": 1}), &json!(true), "").is_unknown());
    }

    #[test]
    fn marked_texts_are_found() {
        let mut texts = Vec::new();
        let value = json!({"rule": [{"id": "secret-id", "days": 3}, {"id": "plain"}]});
        assert!(sensitive(&value, &json!({"rule": [{"id": true, "days": true}, {}]}), &mut texts));
        assert_eq!(texts, ["secret-id"]);
        assert!(!sensitive(&value, &json!({"rule": [{}, {}]}), &mut texts));
    }
}
