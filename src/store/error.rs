use std::error::Error as StdError;
use std::fmt;

/// What went wrong, by what the reader can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store answered: no such object.
    NotFound,
    /// The store answered: no such bucket, container or directory.
    NoSuchBucket,
    /// The credentials may not do this.
    Denied,
    /// The credentials may not use the key the object is encrypted with.
    KmsDenied,
    /// No credentials, or ones the store does not accept.
    Unauthenticated,
    /// The bucket lives elsewhere.
    WrongRegion,
    /// Too many requests, even after waiting.
    Throttled,
    /// The object's class has to be restored first.
    ArchivedClass,
    /// The object changed or the stream was cut while it was read.
    Cut,
    /// No answer, or a fault on the way that did not pass.
    Network,
    /// This store cannot do that.
    Unsupported,
    /// The store's answer makes no sense.
    Protocol,
    /// The address or setting is wrong.
    Config,
    /// Stopped on request.
    Cancelled,
}

/// A store could not answer. Never used for defects of an archive.
#[derive(Debug)]
pub struct StoreError {
    /// By what the reader can do about it.
    pub kind: StoreErrorKind,
    /// One sentence: what was tried and what came back.
    pub message: String,
    /// What to do, e.g. the IAM action to grant.
    pub advice: Option<String>,
    /// The cause below, if any.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl StoreError {
    /// An error without advice or cause.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        StoreError { kind, message: message.into(), advice: None, source: None }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
