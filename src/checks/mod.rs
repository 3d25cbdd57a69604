//! Rules: pure functions from what is known of an archive to findings.
//!
//! One file per rule, named after the defect. Its module comment is the rule's manual page. Adding one is that
//! file and one line in `registry.rs`.

mod backup;
pub(crate) mod context;
mod continuity;
mod finding;
mod integrity;
mod lifecycle;
mod plan;
mod policy;
mod registry;
mod restore;
mod retention;
mod timelines;
mod waive;
mod words;

pub use context::{CheckContext, LivePosition, Promises};
pub use finding::{Finding, OutcomeKind, RuleOutcome, Severity, Waiver};
pub use registry::{all, audited, rule, run};
pub use waive::waive;

/// Why a rule did not look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRun(pub String);

/// What a rule's function returns: findings go to `out`.
pub type Checked = Result<(), NotRun>;

/// One rule of the registry.
pub struct Rule {
    /// Stable; never reused.
    pub code: &'static str,
    /// Named after the defect.
    pub name: &'static str,
    /// Unless the case at hand says otherwise.
    pub severity: Severity,
    /// Source text whose leading `//!` lines are the manual page.
    pub(crate) source: &'static str,
    /// Looks.
    pub check: fn(&CheckContext<'_>, &mut Vec<Finding>) -> Checked,
}

impl Rule {
    /// The manual page, as Markdown.
    pub fn manual(&self) -> String {
        let lines = self.source.lines().take_while(|line| line.starts_with("//!"));
        lines.map(|line| line.trim_start_matches("//!").trim_start_matches(' ')).collect::<Vec<_>>().join("\n")
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("code", &self.code).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Declares the rule of a file; its manual is the file's own module comment.
macro_rules! declare_rule {
    ($code:literal, $name:literal, $severity:ident, $file:literal) => {
        /// The rule that this file implements; its manual page is the module comment.
        pub static RULE: $crate::checks::Rule = $crate::checks::Rule {
            code: $code,
            name: $name,
            severity: $crate::checks::Severity::$severity,
            source: include_str!($file),
            check,
        };
    };
}
pub(crate) use declare_rule;
