//! Test restores between runs: what earlier ones proved, and what this one leaves.

use super::Target;
use crate::catalog::evidence::{RestoreEvidence, RestoreTest};
use crate::model::Timestamp;
use crate::state::{ArchiveId, Head, Kind, RunId, State, StateError};

/// Test restores of one archive that are looked at, newest first.
const REMEMBERED_MAX: usize = 64;

/// The name of an archive in the state.
pub fn id_of(target: &Target, url: &str) -> ArchiveId {
    ArchiveId::new(url, target.storages[0].store.endpoint().as_deref())
}

/// The newest test restores of an archive as of a moment. Damaged records are passed over.
///
/// # Errors
/// The state cannot be read, or holds records of a later version.
pub async fn remembered(state: &State, archive: &ArchiveId, until: Timestamp) -> Result<RestoreEvidence, StateError> {
    let names = state.newest(&archive.folder(), Kind::Restore, until, REMEMBERED_MAX).await?;
    let mut evidence = RestoreEvidence::default();
    for record in state.read_all(names).await? {
        let read = record.and_then(|record| Ok((record.head.as_of, record.body::<RestoreTest>()?)));
        if let Ok((as_of, mut test)) = read {
            test.at = test.at.or(Some(as_of));
            evidence.remembered.push(test);
        }
    }
    Ok(evidence)
}

/// Writes a record of each test of this run.
///
/// # Errors
/// The first that cannot be written.
pub async fn remember_tests(
    state: &State,
    run_id: RunId,
    cluster: &str,
    archive: &ArchiveId,
    as_of: Timestamp,
    tests: &[RestoreTest],
) -> Result<(), StateError> {
    for test in tests {
        let head = Head::new(run_id, cluster.to_owned(), archive.clone(), as_of, Kind::Restore);
        state.write(&head, test).await?;
    }
    Ok(())
}
