use super::expect::Expectation;
use super::part::Few;
use crate::catalog::evidence::MemberDefect;
use crate::model::ObjectKey;

/// Looks for the files that a delta left out, or has only changed pages of, in its ancestors: one after the other, so
/// that only two lists are in memory.
#[derive(Debug)]
pub struct ChainCheck<'a> {
    child: &'a Expectation,
    /// Rows of the child's list that no ancestor has given whole yet.
    wanted: Vec<u32>,
    seen: ChainSeen,
    /// The last ancestor looked at.
    last: String,
}

/// What looking through the ancestors showed.
#[derive(Debug, Clone, Default)]
pub struct ChainSeen {
    pub(super) missing: Few,
    pub(super) not_checked: Option<String>,
    /// Files that were looked for.
    pub(super) wanted: u64,
}

impl<'a> ChainCheck<'a> {
    /// Begins with a delta's list. Without one nothing can be looked for.
    pub fn new(child: &'a Expectation) -> Self {
        let mut check = ChainCheck { child, wanted: Vec::new(), seen: ChainSeen::default(), last: String::new() };
        match &child.files {
            Some(files) => {
                // The list has at most 20 million rows.
                let rows = files.iter().zip(0u32..).filter(|(file, _)| file.needs_ancestor()).map(|(_, row)| row);
                check.wanted = rows.collect();
                check.seen.wanted = check.wanted.len() as u64;
            }
            None if child.is_delta => check.stop("the delta has no list of files"),
            None => {}
        }
        check
    }

    /// Whether every file was found or given up: further ancestors need not be read.
    pub fn is_done(&self) -> bool {
        self.wanted.is_empty() || self.seen.not_checked.is_some()
    }

    /// Looks into the next ancestor: first the parent, then the parent's parent.
    pub fn step(&mut self, name: &str, ancestor: &Expectation) {
        if self.is_done() {
            return;
        }
        name.clone_into(&mut self.last);
        let (Some(child), Some(files)) = (&self.child.files, &ancestor.files) else {
            self.stop(&format!("{name} has no list of files"));
            return;
        };
        let has_sets = ancestor.has_sets();
        let missing = &mut self.seen.missing;
        self.wanted.retain(|row| {
            let Some(wanted) = child.get(*row as usize) else { return false };
            let found = files.find(wanted.path).and_then(|row| files.get(row)).filter(|found| found.listed);
            match found {
                None => missing.add(lost(wanted.path, format!("is not in {name}, from which it has to come"))),
                Some(found) if found.needs_ancestor() => return true,
                Some(found) if has_sets && found.part.is_none() => {
                    missing.add(lost(wanted.path, format!("is in no part of {name}, from which it has to come")));
                }
                Some(_) => {}
            }
            false
        });
    }

    /// An ancestor could not be looked into.
    pub fn stop(&mut self, why: &str) {
        if self.seen.not_checked.is_none() {
            self.seen.not_checked = Some(format!("files that come from ancestors: {why}"));
        }
    }

    /// The end of the chain: what is still wanted is nowhere whole.
    pub fn finish(mut self) -> ChainSeen {
        if self.seen.not_checked.is_none()
            && let Some(child) = &self.child.files
        {
            let last = if self.last.is_empty() { "the delta itself" } else { &self.last };
            for row in &self.wanted {
                if let Some(wanted) = child.get(*row as usize) {
                    self.seen
                        .missing
                        .add(lost(wanted.path, format!("is whole in no ancestor; the chain ends with {last}")));
                }
            }
        }
        self.seen
    }
}

fn lost(path: &[u8], message: String) -> MemberDefect {
    MemberDefect { path: ObjectKey::new(path), message, blocks: Vec::new(), count: 1 }
}
