//! The one place that joins stores, layouts, checks and reports: from an address to a verdict.
#![allow(clippy::disallowed_methods)]

mod catalogue;
mod content;
mod errors;
mod fuzz;
mod history;
mod listing;
mod moment;
mod objects;
mod remember;
#[cfg(feature = "restore")]
mod restore_test;
mod restores;
mod second_look;
mod sidecars;
mod stated;

use std::sync::Arc;
use std::time::Instant;

pub use catalogue::{Catalogued, Content, Known, catalogue};
pub use content::{ContentAsked, count_on_proofs, estimate};
pub use errors::AuditError;
#[doc(hidden)]
pub use fuzz::{fuzz_content, fuzz_document, fuzz_one};
pub use history::history;
pub use moment::{ContentMoment, Located, locate};
pub use objects::bucket_objects;
pub use remember::{archive_id, remember, summary};
#[cfg(feature = "restore")]
pub use restore_test::RestoreAsked;
pub use restores::{id_of as restore_id, remember_tests, remembered};
pub use stated::Stated;

use crate::catalog::evidence::Evidence;
use crate::catalog::{Archive, LayoutKind};
use crate::checks::{self, CheckContext, OutcomeKind};
use crate::codec::crypto::KeyRing;
use crate::fetch::Source;
pub use crate::fetch::Storage;
use crate::model::ObjectKey;
use crate::policy::Exception;
use crate::report::data::{ArchiveReport, Listing};
use crate::report::{self, ArchiveFacts};
use crate::run::RunContext;
use crate::state::State;

/// What to audit: everything below an address.
#[derive(Debug, Clone)]
pub struct Target {
    /// The cluster's name, where the configuration gives one.
    pub name: Option<String>,
    /// The primary storage first.
    pub storages: Vec<Storage>,
    /// Take this layout, whatever the keys look like.
    pub layout: Option<LayoutKind>,
    /// Keys for encrypted objects.
    pub keys: Arc<KeyRing>,
    /// What the policy accepts.
    pub exceptions: Vec<Exception>,
    /// What the policy promises and no rule judges.
    pub not_checked: Vec<String>,
    /// Rules that must be able to run.
    pub required: Vec<String>,
    /// What the configuration states.
    pub stated: Stated,
}

impl Target {
    /// The address as people write it.
    pub fn url(&self) -> String {
        let first = &self.storages[0];
        first.store.url(first.address.prefix().as_bytes())
    }

    /// Requests sent to its stores so far.
    fn requests(&self) -> u64 {
        self.storages.iter().map(|storage| storage.store.requests()).sum()
    }

    /// Its objects, for an archive whose root is known.
    pub fn source(&self, root: &[u8]) -> Source {
        Source { storages: self.storages.clone(), root: ObjectKey::new(root), keys: self.keys.clone() }
    }
}

/// Audits everything below an address: one report entry for each archive found, one with an error where there is none.
pub async fn audit(target: &Target, options: &Options, ctx: &RunContext) -> Vec<ArchiveReport> {
    audit_with(target, options, None, None, ctx).await
}

/// The same, with what earlier runs remembered of test restores, and with content as far as that is asked for. A state
/// that cannot be read takes nothing away from the audit: the rules that need it do not run.
pub async fn audit_with(
    target: &Target,
    options: &Options,
    state: Option<&State>,
    asked: Option<&ContentAsked>,
    ctx: &RunContext,
) -> Vec<ArchiveReport> {
    audit_asked(target, options, &Asked { state, content: asked, ..Asked::default() }, ctx).await
}

/// What is asked of an audit beyond the listing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// What earlier runs remembered, and where test restores are.
    pub state: Option<&'a State>,
    /// What content to read.
    pub content: Option<&'a ContentAsked>,
    /// Which test restore to make.
    #[cfg(feature = "restore")]
    pub restore: Option<&'a dyn RestoreAsked>,
}

/// Audits everything below an address, and reads and restores as far as that is asked for: one archive after the other.
pub async fn audit_asked(
    target: &Target,
    options: &Options,
    asked: &Asked<'_>,
    ctx: &RunContext,
) -> Vec<ArchiveReport> {
    let provider = target.storages[0].store.provider();
    let name = target.name.clone().unwrap_or_else(|| target.url());
    let mut entries = match catalogue(target, options, ctx).await {
        Ok(found) => {
            let mut entries = Vec::new();
            for mut found in found {
                match (asked.content, asked.state) {
                    (Some(content), _) => content::read(target, &mut found, content, options.versions, ctx).await,
                    (None, Some(state)) => content::recall(target, &mut found, state, ctx).await,
                    (None, None) => {}
                }
                if asked.content.is_none() && options.versions == Versions::Always {
                    content::list_versions(target, &mut found, ctx).await;
                }
                #[cfg(feature = "restore")]
                if let Some(restore) = asked.restore {
                    let found = restore_test::run(target, found, restore, asked.state, ctx).await;
                    entries.push(judge(target, found, ctx));
                    continue;
                }
                if let (Some(state), Content::Known(known)) = (asked.state, &mut found.content) {
                    let remembered = remembered(state, &restore_id(target, &found.url), ctx.as_of).await;
                    known.restores = remembered.ok().map(Box::new);
                }
                entries.push(judge(target, found, ctx));
            }
            entries
        }
        Err(error) => vec![report::broken_archive(&name, &target.url(), provider, error.layout(), error.to_string())],
    };
    for entry in &mut entries {
        entry.endpoint = target.storages[0].store.endpoint();
    }
    entries
}

/// How much is asked for at a time.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Requests in flight.
    pub connections: usize,
    /// Whether older versions of WAL are listed.
    pub versions: Versions,
}

/// When older versions of WAL are listed: it takes as many requests again as listing the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// Where content is read, and versions can be compared.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always, without reading content, too.
    Always,
}

impl Default for Options {
    fn default() -> Self {
        Options { connections: 64, versions: Versions::Auto }
    }
}

/// Runs the rules over one archive.
pub fn judge(target: &Target, found: Catalogued, ctx: &RunContext) -> ArchiveReport {
    let Catalogued { name, url, provider, content, listing, error } = found;
    let Known { archive, recovery, content, proven, restores, versions } = match content {
        catalogue::Content::Known(known) => *known,
        catalogue::Content::NotRead(layout) => {
            let error = error.unwrap_or_else(|| format!("a {} archive: not yet read", layout.name()));
            let mut entry = report::broken_archive(&name, &url, provider, Some(layout.name()), error);
            entry.listing = listing;
            return entry;
        }
    };
    let stated = judged(target, &archive);
    let promises = stated.promises();
    let evidence = Evidence {
        content: content.as_deref(),
        proven: proven.as_deref(),
        restore: restores.as_deref(),
        versions: versions.as_deref(),
    };
    let place = [target.storages[0].address.prefix().as_bytes(), archive.root.as_bytes()].concat();
    let outlook = stated.outlook(&archive, &recovery, &place, ctx.as_of);
    let outlook = outlook.as_ref();
    let cx = CheckContext { promises, evidence, outlook, ..CheckContext::new(&archive, &recovery, ctx.as_of) };
    let (mut findings, mut rules) = checks::run(&cx);
    let exceptions = promises.exceptions.unwrap_or(&target.exceptions);
    // Several archives below one cluster's address have names of their own, which exceptions may use, too.
    for cluster in [Some(name.as_str()), stated.cluster().filter(|cluster| *cluster != name)].into_iter().flatten() {
        checks::waive(&mut findings, &mut rules, exceptions, cluster, ctx.as_of);
    }
    for rule in &mut rules {
        rule.blocking |= target.required.iter().any(|code| code.eq_ignore_ascii_case(&rule.code));
    }
    let ran: Vec<&str> =
        rules.iter().filter(|rule| rule.outcome != OutcomeKind::NotRun).map(|rule| rule.code.as_ref()).collect();
    let not_checked = stated.not_checked(&ran).unwrap_or_else(|| target.not_checked.clone());
    report::assemble(ArchiveFacts {
        name: &name,
        url: &url,
        provider,
        archive: &archive,
        recovery: &recovery,
        evidence,
        as_of: ctx.as_of,
        listing,
        findings,
        rules,
        not_checked,
        error,
        outlook,
        promises: promises.policy.is_some(),
        tools: stated.tools(&archive, &recovery, ctx.as_of),
    })
}

/// What the configuration states about an archive that was found.
fn judged(target: &Target, archive: &Archive) -> stated::Judged {
    let address = target.storages[0].address.to_string();
    let root = archive.root.to_string();
    target.stated.of(format!("{}/{root}", address.trim_end_matches('/')).trim_end_matches('/'))
}

/// Seconds since a moment.
fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// A listing that has cost nothing yet.
fn no_listing() -> Listing {
    Listing { source: "list".to_owned(), ..Listing::default() }
}
