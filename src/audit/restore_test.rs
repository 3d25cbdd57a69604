//! A test restore as a part of an audit: made of an archive once it is catalogued, before it is judged.

use std::path::Path;
use std::sync::Arc;

use super::restores::{id_of, remember_tests, remembered};
use super::{Catalogued, Content, Known, Target};
use crate::catalog::evidence::RestoreEvidence;
use crate::policy::Policy;
use crate::restore::test;
use crate::run::RunContext;
use crate::state::{RunId, State};

/// A test restore, as whoever asks for it wants it.
pub trait RestoreAsked: std::fmt::Debug + Sync {
    /// What is asked for, with what the policy of an archive says where nothing is.
    ///
    /// # Errors
    /// What the policy says makes no sense.
    fn options(&self, policy: Option<&Policy>) -> Result<test::Options, String>;

    /// Told where a restored cluster was left.
    fn kept(&self, dir: &Path);

    /// The run that writes the records.
    fn run_id(&self) -> RunId;
}

/// Makes a test restore of an archive that could be catalogued, and remembers it.
pub(super) async fn run(
    target: &Target,
    mut found: Catalogued,
    asked: &dyn RestoreAsked,
    state: Option<&State>,
    ctx: &RunContext,
) -> Catalogued {
    let known = match found.content {
        Content::Known(known) if found.error.is_none() => *known,
        other => {
            found.content = other;
            return found;
        }
    };
    let id = id_of(target, &found.url);
    let mut evidence = RestoreEvidence::default();
    let mut error = None;
    if let Some(state) = state {
        match remembered(state, &id, ctx.as_of).await {
            Ok(remembered) => evidence = remembered,
            Err(failed) => error = Some(format!("what earlier tests proved cannot be read: {failed}")),
        }
    }
    let policy = target.stated.policy(&found.url);
    let Known { archive, recovery, content, proven, versions, .. } = known;
    let archive = Arc::new(archive);
    let source = target.source(archive.root.as_bytes());
    match asked.options(policy.as_ref()) {
        Ok(options) => {
            let tested = test::run(&source, &archive, &recovery, &evidence, &options, ctx).await;
            error = tested.error.or(error);
            if let Some(kept) = &tested.kept {
                asked.kept(kept);
            }
            evidence.tests = tested.tests;
        }
        Err(refused) => error = Some(refused),
    }
    if let Some(state) = state {
        let written = remember_tests(state, asked.run_id(), &found.name, &id, ctx.as_of, &evidence.tests).await;
        if let Err(failed) = written {
            error = error.or(Some(format!("the test is done, but it cannot be remembered: {failed}")));
        }
    }
    // The task that served WAL may still hold it for a moment.
    let archive = Arc::try_unwrap(archive).unwrap_or_else(|shared| (*shared).clone());
    found.error = error;
    let restores = Some(Box::new(evidence));
    found.content = Content::Known(Box::new(Known { archive, recovery, content, proven, restores, versions }));
    found
}
