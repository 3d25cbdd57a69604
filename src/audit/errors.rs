use crate::catalog::LayoutKind;
use crate::store::{StoreError, StoreErrorKind};

/// Why an audit could not be completed. Never a defect of the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The store could not answer.
    #[error("{doing}: {source}")]
    Store {
        /// What was tried.
        doing: String,
        /// What came back.
        #[source]
        source: StoreError,
    },
    /// Settings that do not say enough.
    #[error("{0}")]
    Refused(String),
    /// There is no archive below the address.
    #[error("{0}")]
    NoArchive(String),
    /// The run was stopped.
    #[error("stopped before the audit was complete: {0}")]
    Stopped(String),
    /// A layout was asked for that is not read yet.
    #[error("layout {}: not yet read", .0.name())]
    NotRead(LayoutKind),
}

impl AuditError {
    /// Wraps a store's answer; a run that was stopped is not the store's fault.
    pub fn store(doing: impl Into<String>, source: StoreError) -> Self {
        let doing = doing.into();
        if source.kind == StoreErrorKind::Cancelled {
            AuditError::Stopped(doing)
        } else {
            AuditError::Store { doing, source }
        }
    }

    /// The layout, where it was recognised.
    pub fn layout(&self) -> Option<&'static str> {
        match self {
            AuditError::NotRead(layout) => Some(layout.name()),
            _ => None,
        }
    }
}
