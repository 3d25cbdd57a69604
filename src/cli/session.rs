//! What every command that opens archives shares: settings, stores, a context that Ctrl-C stops.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;

use super::Outcome;
use super::args::Common;
use super::progress::Bars;
use crate::audit::{Options, Stated, Storage, Target};
use crate::checks::LivePosition;
use crate::config::{self, Overrides, Place};
use crate::model::Timestamp;
use crate::policy::outlook::BucketRules;
use crate::policy::retention::Engine;
use crate::run::{Cancel, RunContext, Silent};
use crate::store::{self, Address, Limits, ListRequest};

/// Settings and limits of one run.
pub(super) struct Session {
    pub ctx: RunContext,
    pub options: Options,
    pub limits: Arc<Limits>,
    pub config: Option<crate::policy::Config>,
    pub env: BTreeMap<String, String>,
    pub overrides: Overrides,
    pub required: Vec<String>,
    pub files_pattern: Option<String>,
    /// Lifecycle rules of buckets, as files say.
    pub buckets: Vec<BucketRules>,
    /// Deletions of backup tools to simulate.
    pub engines: Vec<Engine>,
    /// Where the live server is, as flags say.
    pub live: Option<LivePosition>,
}

/// Runs a command on a runtime of its own.
pub(super) fn block_on<F: Future<Output = anyhow::Result<Outcome>>>(command: F) -> anyhow::Result<Outcome> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    let outcome = runtime.block_on(command);
    // Blocking readers look at the cancel flag for each chunk; nobody waits for one that hangs in the network.
    runtime.shutdown_background();
    outcome
}

impl Session {
    /// Reads settings, and lets Ctrl-C, SIGTERM and `--max-time` stop the run.
    pub fn new(common: &Common) -> anyhow::Result<Self> {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = config::load_found(common.config.as_deref(), &env)?;
        let now = Timestamp::now();
        let mut ctx = RunContext::new(common.now.unwrap_or(now));
        // A random but printable seed would make two audits differ for nothing; samples name theirs.
        ctx.seed = 0;
        let bars = std::io::stderr().is_terminal() && !common.output.no_progress && !common.output.quiet;
        ctx.progress = if bars { Arc::new(Bars::default()) } else { Arc::new(Silent) };
        log_to_stderr(common.output.verbose);
        stop_on_signals(ctx.cancel.clone(), common.max_time);
        let limits = Limits::with_rate(usize::from(common.connections), common.limit_rate);
        let access = &common.access;
        let overrides = Overrides {
            endpoint_url: access.endpoint_url.clone(),
            region: access.region.clone(),
            profile: access.profile.clone(),
            path_style: access.path_style,
            anonymous: access.anonymous,
            requester_pays: access.requester_pays,
            layout: access.layout,
            walg_config: access.walg_config.clone(),
        };
        for code in &common.require {
            if crate::checks::rule(code).is_none() {
                anyhow::bail!("--require {code}: there is no such rule; `walproof rule` lists them");
            }
        }
        let options = Options { connections: usize::from(common.connections), ..Options::default() };
        let (required, files_pattern) = (common.require.clone(), access.files_pattern.clone());
        Ok(Session {
            ctx,
            options,
            limits,
            config,
            env,
            overrides,
            required,
            files_pattern,
            buckets: Vec::new(),
            engines: Vec::new(),
            live: None,
        })
    }

    /// What the command line or the configuration names.
    pub fn places(&self, names: &[String]) -> anyhow::Result<Vec<Place>> {
        Ok(config::places(names, self.config.as_ref(), &self.overrides, &self.env)?)
    }

    /// Opens the stores of a place. One with `/*` at its end becomes one target for each folder below it.
    pub async fn open(&self, place: &Place) -> anyhow::Result<Vec<Target>> {
        let mut storages = Vec::new();
        for (address, options) in &place.storages {
            let store = store::open(address, options, self.limits.clone(), self.ctx.cancel.clone()).await?;
            storages.push(Storage { store, address: address.clone() });
        }
        let target = Target {
            name: place.name.clone(),
            storages,
            layout: place.layout,
            keys: place.keys.clone(),
            exceptions: place.exceptions.clone(),
            not_checked: place.not_checked.clone(),
            required: self.required.clone(),
            stated: self.stated(place)?,
        };
        if place.each { each(target, place).await } else { Ok(vec![target]) }
    }
}

/// A file in which a monitor says where the live server is; such files are small.
const LIVE_BYTES_MAX: u64 = 64 << 10;

impl Session {
    /// What the configuration and the flags state about a place.
    fn stated(&self, place: &Place) -> anyhow::Result<Stated> {
        let mut live = self.live;
        if let (None, Some(config), Some(cluster)) = (live, &self.config, &place.cluster)
            && let Some(path) = config.policy(cluster).live_status.get()
        {
            let mut text = String::new();
            let file = std::fs::File::open(path).with_context(|| format!("live_status {path}"))?;
            std::io::Read::read_to_string(&mut std::io::Read::take(file, LIVE_BYTES_MAX), &mut text)
                .with_context(|| format!("live_status {path}"))?;
            let read = serde_json::from_str(&text);
            live = Some(read.with_context(|| {
                format!("live_status {path} is not like {{\"timeline\": 1, \"lsn\": \"0/16B3748\"}}")
            })?);
        }
        Ok(Stated {
            config: self.config.clone().map(Arc::new),
            cluster: place.cluster.clone(),
            live,
            files_pattern: self.files_pattern.clone(),
            bucket: self.bucket_rules(place)?.map(Arc::new),
            engines: self.engines.clone(),
        })
    }
}

/// One target for each folder below an address.
async fn each(target: Target, place: &Place) -> anyhow::Result<Vec<Target>> {
    let storage = &target.storages[0];
    let mut request =
        ListRequest { prefix: storage.address.prefix().as_bytes().to_vec(), delimiter: true, ..ListRequest::default() };
    let mut folders = Vec::new();
    loop {
        let page = storage.store.list_page(request.clone()).await?;
        folders.extend(page.prefixes);
        match page.next {
            Some(token) if folders.len() < 10_000 => request.token = Some(token),
            _ => break,
        }
    }
    let mut targets = Vec::new();
    for folder in folders {
        let Some(text) = folder.as_plain_str() else { continue };
        let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let mut one = target.clone();
        one.stated.cluster = place.cluster.as_ref().map(|cluster| cluster.instance(name));
        one.name = one.stated.cluster.as_ref().map(|cluster| cluster.name.clone());
        one.storages[0].address = storage.address.join(name);
        if let Address::Directory(path) = &one.storages[0].address {
            // A directory's keys are relative to the opened root: open the folder itself.
            let limits = Limits::new(8);
            let opened = store::open(
                &Address::Directory(path.clone()),
                &store::StoreOptions::default(),
                limits,
                Cancel::default(),
            )
            .await;
            one.storages[0].store = opened?;
        }
        targets.push(one);
    }
    if targets.is_empty() {
        anyhow::bail!("no folder below {}", target.url());
    }
    Ok(targets)
}

/// `-vv` shows what is sent to the store; logs never go to standard output.
fn log_to_stderr(verbose: u8) {
    if verbose < 2 {
        return;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("walproof=debug"));
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second session in one process keeps the first one's subscriber.
    let _ = format.try_init();
}

fn stop_on_signals(cancel: Cancel, max_time: Option<std::time::Duration>) {
    if let Some(limit) = max_time {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            cancel.set();
        });
    }
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_set() {
                // Asked twice: somebody is in a hurry.
                std::process::exit(130);
            }
            cancel.set();
        }
    });
}
