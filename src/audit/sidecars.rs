//! Reading the small objects that a layout asks for.

use std::io::Read;

use futures::StreamExt;

use super::{AuditError, Options, Target};
use crate::codec::Limits;
use crate::fetch::{Fault, Problem, Source};
use crate::layout::{self, Answer, Layout, Purpose, ReadProblem, Wanted};
use crate::run::{ProgressUnit, RunContext};
use crate::store::{ReadOptions, StoreError, StoreErrorKind};

/// Rounds of questions that one archive may need: text, backup history files, first pages, and again after a change.
const ROUNDS_MAX: usize = 12;

/// Asks for everything a fold wants until it wants nothing more. What cannot be read for a reason that lies in the
/// store fails the audit of this archive; the rest is still asked, so that the report shows what is known.
pub(super) async fn read_all(
    target: &Target,
    root: &[u8],
    fold: &mut dyn Layout,
    options: &Options,
    ctx: &RunContext,
) -> Result<(), AuditError> {
    let source = target.source(root);
    let source = &source;
    let mut failed = None;
    for _ in 0..ROUNDS_MAX {
        let wanted = fold.wanted();
        if wanted.is_empty() {
            break;
        }
        ctx.progress.step("reading metadata", ProgressUnit::Things, Some(wanted.len() as u64));
        let mut answers = futures::stream::iter(wanted.into_iter().map(|wanted| async move {
            let answer = read_one(source, &wanted, ctx).await;
            (wanted, answer)
        }))
        .buffer_unordered(options.connections.clamp(1, 32));
        while let Some((wanted, answer)) = answers.next().await {
            ctx.progress.advance(1);
            let answer = answer.unwrap_or_else(|error| {
                let why = error.to_string();
                failed.get_or_insert(AuditError::store(format!("reading {}", wanted.key), error));
                Answer::Unread { why, key_missing: false }
            });
            fold.answer(&wanted, answer);
        }
        drop(answers);
        ctx.progress.finish();
        if ctx.cancel.is_set() {
            return Err(AuditError::Stopped("reading metadata".to_owned()));
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn read_one(source: &Source, wanted: &Wanted, ctx: &RunContext) -> Result<Answer, StoreError> {
    if wanted.codec.is_none() && wanted.size > wanted.bytes_max {
        let why = format!("it has {} bytes, more than the {} that are read", wanted.size, wanted.bytes_max);
        return Ok(Answer::Unread { why, key_missing: false });
    }
    let stored = match source.get(wanted.storage, &wanted.key, ReadOptions::default(), &ctx.cancel).await {
        Ok(stored) => stored,
        Err(problem) => return answer(problem, wanted.purpose),
    };
    let source = source.clone();
    let (purpose, codec, bytes_max) = (wanted.purpose, wanted.codec, wanted.bytes_max);
    let parsed = tokio::task::spawn_blocking(move || -> Result<layout::Sidecar, Unreadable> {
        match codec {
            None => Ok(layout::read(purpose, &mut stored.reader.take(bytes_max))?),
            Some(codec) => {
                let opened = source.open(codec, Box::new(stored.reader), &Limits::default());
                Ok(layout::read(purpose, &mut opened.map_err(Unreadable::Object)?.reader)?)
            }
        }
    });
    match parsed.await {
        Ok(Ok(sidecar)) => Ok(Answer::Parsed(sidecar)),
        Ok(Err(Unreadable::Content(why))) => Ok(Answer::Broken(why)),
        Ok(Err(Unreadable::Object(problem))) => answer(problem, purpose),
        Err(panic) => Ok(Answer::Broken(format!("could not be parsed: {panic}"))),
    }
}

/// Why a sidecar gave nothing: its text, or the object below.
enum Unreadable {
    Content(String),
    Object(Problem),
}

impl From<ReadProblem> for Unreadable {
    fn from(problem: ReadProblem) -> Self {
        match problem {
            ReadProblem::Content(why) => Unreadable::Content(why),
            ReadProblem::Io(error) => Unreadable::Object(Problem::of_io(&error)),
        }
    }
}

/// Tells damage from a missing key from a failing store.
fn answer(problem: Problem, purpose: Purpose) -> Result<Answer, StoreError> {
    let unread = |why: String, key_missing| Ok(Answer::Unread { why, key_missing });
    match problem.fault() {
        Fault::Gone => Ok(Answer::Gone),
        Fault::KeyMissing => unread("it is encrypted and no key was given".to_owned(), true),
        // The first page says who wrote a segment; whether the whole object decodes is for `verify` to say.
        Fault::Damaged if !matches!(purpose, Purpose::FirstPage(_)) => {
            Ok(Answer::Broken(format!("does not decode: {problem}")))
        }
        Fault::Failed => Err(match problem {
            Problem::Store(error) => error,
            other => StoreError::new(StoreErrorKind::Network, other.to_string()),
        }),
        Fault::Stopped => Err(StoreError::new(StoreErrorKind::Cancelled, "stopped on request")),
        Fault::Damaged | Fault::Refused | Fault::WrongKey | Fault::TooLarge => unread(problem.to_string(), false),
    }
}
