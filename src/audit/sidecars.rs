//! Reading the small objects that a layout asks for.

use std::io::{self, Read};

use futures::StreamExt;

use super::{AuditError, Options, Target};
use crate::codec::crypto::KeyRing;
use crate::codec::{self, CodecErrorKind, Limits};
use crate::layout::{self, Answer, Layout, Purpose, ReadProblem, Wanted};
use crate::model::ObjectKey;
use crate::run::{ProgressUnit, RunContext};
use crate::store::{ReadOptions, Stopped, StoreError, StoreErrorKind, StreamReader};

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
    let mut failed = None;
    for _ in 0..ROUNDS_MAX {
        let wanted = fold.wanted();
        if wanted.is_empty() {
            break;
        }
        ctx.progress.step("reading metadata", ProgressUnit::Things, Some(wanted.len() as u64));
        let mut answers = futures::stream::iter(wanted.into_iter().map(|wanted| async move {
            let answer = read_one(target, root, &wanted, ctx).await;
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

async fn read_one(target: &Target, root: &[u8], wanted: &Wanted, ctx: &RunContext) -> Result<Answer, StoreError> {
    let unread = |why: String| Ok(Answer::Unread { why, key_missing: false });
    if wanted.codec.is_none() && wanted.size > wanted.bytes_max {
        return unread(format!("it has {} bytes, more than the {} that are read", wanted.size, wanted.bytes_max));
    }
    let Some(storage) = target.storages.get(usize::from(wanted.storage)) else {
        return unread("its storage is not configured".to_owned());
    };
    let key = ObjectKey::new([storage.address.prefix().as_bytes(), root, wanted.key.as_bytes()].concat());
    let read = match storage.store.read(&key, ReadOptions::default()).await {
        Ok(read) => read,
        Err(error) => {
            return match error.kind {
                StoreErrorKind::NotFound => Ok(Answer::Gone),
                StoreErrorKind::ArchivedClass | StoreErrorKind::KmsDenied => unread(error.to_string()),
                _ => Err(error),
            };
        }
    };
    let reader = StreamReader::new(read.stream, tokio::runtime::Handle::current(), ctx.cancel.clone());
    let keys = target.keys.clone();
    let (purpose, codec, bytes_max) = (wanted.purpose, wanted.codec, wanted.bytes_max);
    let parsed = tokio::task::spawn_blocking(move || -> Result<layout::Sidecar, ReadProblem> {
        match codec {
            None => layout::read(purpose, &mut reader.take(bytes_max)),
            Some(codec) => {
                let mut opened = open(codec, &keys, Box::new(reader))?;
                layout::read(purpose, &mut opened)
            }
        }
    });
    let problem = match parsed.await {
        Ok(Ok(sidecar)) => return Ok(Answer::Parsed(sidecar)),
        Ok(Err(problem)) => problem,
        Err(panic) => return Ok(Answer::Broken(format!("could not be parsed: {panic}"))),
    };
    match problem {
        ReadProblem::Content(why) => Ok(Answer::Broken(why)),
        ReadProblem::Io(error) => of_io(error, purpose),
    }
}

fn open(
    codec: crate::model::CodecKind,
    keys: &KeyRing,
    reader: Box<dyn Read + Send>,
) -> Result<Box<dyn Read + Send>, ReadProblem> {
    let opened = codec::open(codec, keys, reader, &Limits::default()).map_err(|error| ReadProblem::Io(error.into()))?;
    Ok(opened.reader)
}

/// Tells damage from a missing key from a failing store.
fn of_io(error: io::Error, purpose: Purpose) -> Result<Answer, StoreError> {
    if let Some(defect) = codec::codec_error(&error) {
        let key_missing = matches!(defect.kind, CodecErrorKind::KeyMissing | CodecErrorKind::LooksEncrypted);
        if key_missing {
            return Ok(Answer::Unread { why: "it is encrypted and no key was given".to_owned(), key_missing });
        }
        // The first page says who wrote a segment; whether the whole object decodes is for `verify` to say.
        if defect.is_damage() && !matches!(purpose, Purpose::FirstPage(_)) {
            return Ok(Answer::Broken(format!("does not decode: {defect}")));
        }
        return Ok(Answer::Unread { why: defect.to_string(), key_missing });
    }
    let inner = codec::source_error(&error).unwrap_or(&error);
    let cause = inner.get_ref();
    if cause.is_some_and(|cause| cause.is::<Stopped>()) {
        return Err(StoreError::new(StoreErrorKind::Cancelled, "stopped on request"));
    }
    match cause.and_then(|cause| cause.downcast_ref::<StoreError>()) {
        Some(known) => {
            let mut copy = StoreError::new(known.kind, known.message.clone());
            copy.advice = known.advice.clone();
            Err(copy)
        }
        None => Err(StoreError::new(StoreErrorKind::Network, error.to_string())),
    }
}
