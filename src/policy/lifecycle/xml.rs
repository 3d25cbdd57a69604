//! Just enough XML for lifecycle configurations: elements, text, entities. No namespaces, no DTD, bounded.

use std::collections::BTreeMap;

use crate::policy::value::Node;

const DEPTH_MAX: usize = 32;
const ELEMENTS_MAX: usize = 200_000;

/// Reads the root element. Repeated children become lists; an element with only text becomes text.
///
/// # Errors
/// What is not well-formed, or a construct that a configuration never has (a DTD), with its byte offset.
pub(crate) fn read(text: &str) -> Result<(String, Node), String> {
    let mut parser = Parser { text, at: 0, elements: 0 };
    parser.prolog()?;
    let (name, node) = parser.element(0)?;
    parser.skip_space_and_comments()?;
    if parser.at < text.len() {
        return parser.fail("something follows the root element");
    }
    Ok((name, node))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    elements: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("not a lifecycle document: {what} at byte {}", self.at))
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn skip_past(&mut self, end: &str) -> Result<(), String> {
        match self.rest().find(end) {
            Some(found) => {
                self.at += found + end.len();
                Ok(())
            }
            None => self.fail(&format!("\"{end}\" is missing")),
        }
    }

    fn skip_space_and_comments(&mut self) -> Result<(), String> {
        loop {
            self.skip_space();
            if !self.rest().starts_with("<!--") {
                return Ok(());
            }
            self.skip_past("-->")?;
        }
    }

    fn prolog(&mut self) -> Result<(), String> {
        if self.rest().starts_with('\u{feff}') {
            self.at += '\u{feff}'.len_utf8();
        }
        self.skip_space();
        if self.rest().starts_with("<?") {
            self.skip_past("?>")?;
        }
        self.skip_space_and_comments()?;
        if self.rest().starts_with("<!") { self.fail("a document type is not allowed") } else { Ok(()) }
    }

    /// `<name attributes>` was not read yet; attributes (namespaces) are skipped.
    fn element(&mut self, depth: usize) -> Result<(String, Node), String> {
        self.elements += 1;
        if depth > DEPTH_MAX || self.elements > ELEMENTS_MAX {
            return self.fail("too deep or too many elements");
        }
        let Some(tag) = self.rest().strip_prefix('<') else { return self.fail("no element") };
        let Some(end) = tag.find('>') else { return self.fail("an element is not closed") };
        let inside = &tag[..end];
        self.at += end + 2;
        let (inside, empty) = inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
        let name = inside.split_ascii_whitespace().next().unwrap_or("");
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-_.:".contains(c)) {
            return self.fail("an element without a name");
        }
        // A namespace prefix means nothing here.
        let local = name.rsplit(':').next().unwrap_or(name).to_owned();
        if empty {
            return Ok((local, Node::Map(BTreeMap::new())));
        }
        let node = self.content(name, depth)?;
        Ok((local, node))
    }

    fn content(&mut self, name: &str, depth: usize) -> Result<Node, String> {
        let mut text = String::new();
        let mut children: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        loop {
            let Some(next) = self.rest().find('<') else { return self.fail("an element is not closed") };
            text.push_str(&unescape(&self.rest()[..next]));
            self.at += next;
            let rest = self.rest();
            if rest.starts_with("<!--") {
                self.skip_past("-->")?;
            } else if let Some(data) = rest.strip_prefix("<![CDATA[") {
                let end = data.find("]]>").map_or(data.len(), |end| end);
                text.push_str(&data[..end]);
                self.skip_past("]]>")?;
            } else if let Some(close) = rest.strip_prefix("</") {
                let Some(end) = close.find('>') else { return self.fail("an element is not closed") };
                if close[..end].trim_end() != name {
                    return self.fail("an element is closed by another name");
                }
                self.at += end + 3;
                break;
            } else {
                let (child, node) = self.element(depth + 1)?;
                children.entry(child).or_default().push(node);
            }
        }
        if children.is_empty() {
            // Line breaks between tags are layout; anything else belongs to the value.
            let blank = text.trim().is_empty() && text.contains('\n');
            return Ok(Node::Text(if blank { String::new() } else { text }));
        }
        let one_or_many = |mut nodes: Vec<Node>| if nodes.len() == 1 { nodes.remove(0) } else { Node::List(nodes) };
        Ok(Node::Map(children.into_iter().map(|(name, nodes)| (name, one_or_many(nodes))).collect()))
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        let replaced = end.and_then(|end| match &rest[1..end] {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            number => {
                let number = number.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)
            }
        });
        match (replaced, end) {
            (Some(c), Some(end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_become_maps_lists_and_text() {
        let (root, node) = read(
            "<?xml version=\"1.0\"?>\n<!-- c --><LifecycleConfiguration xmlns=\"http://s3\"><Rule><ID>a &amp; b</ID>\
             <Filter><Prefix/></Filter></Rule><Rule><ID>c</ID></Rule></LifecycleConfiguration>\n",
        )
        .unwrap();
        assert_eq!(root, "LifecycleConfiguration");
        let rules = node.get("Rule").items();
        assert_eq!(rules[0].get("ID").text(), Some("a & b"));
        assert_eq!(rules.len(), 2);
    }

    #[test]
    fn refuses_what_no_configuration_has() {
        for bad in ["", "<a>", "<a></b>", "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "<a/><b/>", "text", "<a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let deep = "<a>".repeat(100_000);
        assert!(read(&deep).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(<|>|/|a|b|&|;|#|x|1|!--|-->|\\?|ä| ){0,60}") {
            let _ = read(&text);
        }
    }
}
