//! Where runs are remembered.

use std::sync::Arc;

use anyhow::Context;

use super::session::Session;
use crate::audit;
use crate::config;
use crate::report::data::Report;
use crate::run::Cancel;
use crate::state::{self, RunId, State};
use crate::store::{Address, Limits, StoreOptions};

/// The place that `--state` or the configuration names.
pub(super) struct Memory {
    address: Address,
    options: StoreOptions,
    limits: Arc<Limits>,
}

impl Memory {
    /// Finds the place, if there is to be one, and makes sure that it lies in no archive: neither in one of this run
    /// nor in any other that the configuration names. Touches nothing.
    pub fn of(session: &Session, flag: Option<&str>, names: &[String]) -> anyhow::Result<Option<Self>> {
        let config = session.config.as_ref();
        let Some((address, options)) = config::state_place(flag, config, &session.overrides)? else { return Ok(None) };
        let mut archives = config.map(config::configured_archives).unwrap_or_default();
        for place in session.places(names)? {
            archives.extend(place.storages.into_iter().map(|(address, _)| address));
        }
        state::refuse_inside(&address, &archives)?;
        Ok(Some(Memory { address, options, limits: session.limits.clone() }))
    }

    /// The place named by the flag or the configuration, for reading only.
    pub fn to_read(session: &Session, flag: Option<&str>) -> anyhow::Result<Self> {
        let place = config::state_place(flag, session.config.as_ref(), &session.overrides)?;
        let (address, options) = place.context(
            "no state: say with --state URL or [state] url where audits are remembered (a directory or a bucket prefix)",
        )?;
        Ok(Memory { address, options, limits: session.limits.clone() })
    }

    /// Opens it. A run that was stopped still writes what it learnt, so stopping the run does not stop this.
    pub async fn open(&self) -> anyhow::Result<State> {
        Ok(state::open_state(&self.address, &self.options, self.limits.clone(), Cancel::default()).await?)
    }

    /// Writes one record for each archive of a report.
    pub async fn keep(&self, report: &Report) -> anyhow::Result<()> {
        let written = async {
            let state = self.open().await?;
            anyhow::Ok(audit::remember(&state, RunId::random(), report).await?)
        };
        written.await.context("the audit is done, but it cannot be remembered")
    }
}
