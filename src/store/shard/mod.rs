//! Lists everything under a prefix, with as many listers as are of use.

mod plan;
mod space;

use std::sync::Arc;

use tokio::task::JoinSet;

use super::retry::or_cancelled;
use super::{Limits, ListPage, ListRequest, Store, StoreError, StoreErrorKind};
use crate::model::{ObjectKey, ObjectRow};
use crate::run::RunContext;
use plan::{Plan, Step};

/// How to list.
#[derive(Debug, Clone)]
pub struct ListOptions {
    /// Listers at the same time, at most. Fewer run where more would be of no use; with 1, pages are asked for one
    /// after the other and may come in any order.
    pub listers: usize,
    /// Where to cut the key space at once: [`ListStats::cuts`] of an earlier listing. They may be wrong.
    pub cuts: Vec<ObjectKey>,
}

impl Default for ListOptions {
    fn default() -> Self {
        ListOptions { listers: Limits::CONNECTIONS_DEFAULT, cuts: Vec::new() }
    }
}

/// What a listing came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListStats {
    /// Keys.
    pub objects: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Pages that came.
    pub pages: u64,
    /// Requests sent by the store meanwhile, retries included.
    pub requests: u64,
    /// Most listers at work at the same time.
    pub listers_peak: usize,
    /// Where the key space was cut, in order.
    pub cuts: Vec<ObjectKey>,
}

/// Lists every key under a prefix exactly once and hands the rows over page by page, in no particular order of pages.
/// A key that is there from beginning to end is never missed, whatever comes and goes meanwhile.
///
/// Rows handed over before an error are good, but not all.
///
/// # Errors
/// Whatever the store answers, `Protocol` if it lists out of order or in circles, `Cancelled`.
pub async fn list_all(
    store: Arc<dyn Store>,
    prefix: &[u8],
    options: ListOptions,
    ctx: &RunContext,
    mut sink: impl FnMut(Vec<ObjectRow>),
) -> Result<ListStats, StoreError> {
    let listers = if store.can_start_after() { options.listers.min(store.listers_max()) } else { 1 };
    let requests_before = store.requests();
    let mut stats = ListStats::default();
    let mut tasks: JoinSet<(u64, Result<ListPage, StoreError>)> = JoinSet::new();
    let send = |tasks: &mut JoinSet<_>, requests: Vec<(u64, ListRequest)>| {
        for (range, request) in requests {
            let store = Arc::clone(&store);
            tasks.spawn(async move { (range, store.list_page(request).await) });
        }
    };
    let (mut plan, Step { requests, .. }) = Plan::new(prefix, listers, &options.cuts);
    send(&mut tasks, requests);
    while let Some(done) = or_cancelled(&ctx.cancel, tasks.join_next()).await? {
        let (range, page) =
            done.map_err(|error| StoreError::new(StoreErrorKind::Protocol, "a lister failed").because(error))?;
        let Step { rows, requests } = plan.arrived(range, page?)?;
        // The next requests are on their way while the rows are looked at.
        send(&mut tasks, requests);
        if !rows.is_empty() {
            stats.objects += rows.len() as u64;
            stats.bytes = rows.iter().fold(stats.bytes, |sum, row| sum.saturating_add(row.size));
            ctx.progress.advance(rows.len() as u64);
            sink(rows);
        }
    }
    stats.pages = plan.pages();
    stats.requests = store.requests().saturating_sub(requests_before);
    stats.listers_peak = plan.listers_peak;
    stats.cuts = plan.cuts;
    stats.cuts.sort_unstable();
    Ok(stats)
}

/// Lists the keys under a prefix that lie strictly between two bounds, in order, page by page; a second look at a part
/// of a listing. Returns how many there were.
///
/// # Errors
/// Whatever the store answers.
pub async fn list_range(
    store: &dyn Store,
    prefix: &[u8],
    start_exclusive: Option<&[u8]>,
    end_exclusive: Option<&[u8]>,
    mut sink: impl FnMut(Vec<ObjectRow>),
) -> Result<u64, StoreError> {
    let mut request = ListRequest { prefix: prefix.to_vec(), ..ListRequest::default() };
    // Over HTTP only text can be asked for: a key that is none is approached from the text before it.
    request.start_after = start_exclusive.filter(|_| store.can_start_after()).map(|start| {
        let text = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        text.as_bytes().to_vec()
    });
    request.start_after = request.start_after.filter(|start| !start.is_empty());
    let mut objects = 0;
    loop {
        let ListPage { mut rows, next, .. } = store.list_page(request.clone()).await?;
        let is_past_end = |row: &ObjectRow| end_exclusive.is_some_and(|end| row.key.as_bytes() >= end);
        // Out of order, nothing can be said about what is still to come.
        let is_over = store.can_start_after() && rows.last().is_some_and(is_past_end);
        rows.retain(|row| !is_past_end(row) && start_exclusive.is_none_or(|start| row.key.as_bytes() > start));
        objects += rows.len() as u64;
        if !rows.is_empty() {
            sink(rows);
        }
        match next {
            Some(token) if !is_over => request.token = Some(token),
            _ => return Ok(objects),
        }
    }
}

#[cfg(test)]
mod tests;
