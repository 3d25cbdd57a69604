//! Which rules can match a key: one binary search instead of one comparison per rule.

use super::RuleSet;

/// Prefixes of all rules in byte order. The longest one that a key begins with is the last one not behind the key, or
/// one of that one's own prefixes: whatever sorts between a prefix of the key and the key begins with that prefix too.
#[derive(Debug, Clone)]
pub(super) struct PrefixIndex {
    nodes: Vec<Node>,
    /// Rules without a prefix.
    everywhere: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Node {
    prefix: Vec<u8>,
    /// The longest other prefix that this one begins with.
    parent: Option<usize>,
    /// Rules of this prefix and of all its own prefixes, ascending.
    rules: Vec<u32>,
}

impl PrefixIndex {
    pub fn new(rules: &RuleSet, wanted: impl Fn(usize) -> bool) -> Self {
        let mut everywhere = Vec::new();
        let mut pairs: Vec<(&[u8], u32)> = Vec::new();
        for (at, rule) in rules.rules.iter().enumerate() {
            let Ok(number) = u32::try_from(at) else { break };
            if !wanted(at) {
                continue;
            }
            if rule.filter.prefixes.is_empty() || rule.filter.prefixes.iter().any(Vec::is_empty) {
                everywhere.push(number);
            } else {
                pairs.extend(rule.filter.prefixes.iter().map(|prefix| (prefix.as_slice(), number)));
            }
        }
        pairs.sort_unstable();
        let mut nodes: Vec<Node> = Vec::new();
        for (prefix, rule) in pairs {
            match nodes.last_mut() {
                Some(last) if last.prefix == prefix => last.rules.push(rule),
                last => {
                    let mut parent = last.is_some().then(|| nodes.len() - 1);
                    while let Some(at) = parent
                        && !prefix.starts_with(&nodes[at].prefix)
                    {
                        parent = nodes[at].parent;
                    }
                    nodes.push(Node { prefix: prefix.to_vec(), parent, rules: vec![rule] });
                }
            }
        }
        // Parents stand before their children, so their lists are complete when a child takes them over.
        for at in 0..nodes.len() {
            let inherited = nodes[at].parent.map_or_else(|| everywhere.clone(), |parent| nodes[parent].rules.clone());
            let own = &mut nodes[at].rules;
            own.extend(inherited);
            own.sort_unstable();
            own.dedup();
        }
        PrefixIndex { nodes, everywhere }
    }

    /// Rules with a prefix of this key, ascending.
    pub fn rules(&self, key: &[u8]) -> &[u32] {
        let behind = self.nodes.partition_point(|node| node.prefix.as_slice() <= key);
        let mut node = behind.checked_sub(1);
        while let Some(at) = node {
            let this = &self.nodes[at];
            if key.starts_with(&this.prefix) {
                return &this.rules;
            }
            node = this.parent;
        }
        &self.everywhere
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Filter, Provider, Rule};
    use super::*;

    fn set(prefixes: &[Vec<Vec<u8>>]) -> RuleSet {
        let rule = |prefixes: &Vec<Vec<u8>>| Rule {
            id: String::new(),
            enabled: true,
            filter: Filter { prefixes: prefixes.clone(), ..Filter::default() },
            actions: Vec::new(),
            doubts: Vec::new(),
        };
        RuleSet { rules: prefixes.iter().map(rule).collect(), ..RuleSet::empty(Provider::Gcs) }
    }

    proptest! {
        #[test]
        fn finds_what_comparing_with_every_prefix_finds(
            prefixes in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(0u8..3, 0..5), 0..3), 0..12),
            key in proptest::collection::vec(0u8..3, 0..8),
        ) {
            let rules = set(&prefixes);
            let index = PrefixIndex::new(&rules, |_| true);
            let expected: Vec<u32> = (0..rules.rules.len())
                .filter(|at| rules.rules[*at].filter.key_and_size(&key, 0))
                .map(|at| at as u32)
                .collect();
            prop_assert_eq!(index.rules(&key), expected.as_slice());
        }
    }
}
