use crate::catalog::evidence::{ContentEvidence, Evidence};
use crate::catalog::{Archive, BaseBackup, Obstacle, Recovery, Standing};
use crate::checks::NotRun;
use crate::model::{Lsn, SegmentNo, TimelineId, Timestamp};
use crate::policy::outlook::Outlook;
use crate::policy::{Exception, Policy};

/// Everything a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    /// The archive.
    pub archive: &'a Archive,
    /// What can be recovered from it.
    pub recovery: &'a Recovery,
    /// The only clock.
    pub as_of: Timestamp,
    /// What was promised about it.
    pub promises: Promises<'a>,
    /// What was learnt by reading content and by restoring.
    pub evidence: Evidence<'a>,
    /// What its bucket's rules do to it, where they are known.
    pub outlook: Option<&'a Outlook>,
}

/// What the configuration says about an archive. Rules that need a promise do not run without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Promises<'a> {
    /// The policy of its cluster.
    pub policy: Option<&'a Policy>,
    /// The name of its cluster.
    pub cluster: Option<&'a str>,
    /// Every exception of the configuration; `None` without a configuration.
    pub exceptions: Option<&'a [Exception]>,
    /// It lies in a bucket of the configuration, but no cluster names it: the nearest one that lies there.
    pub unnamed: Option<&'a str>,
    /// Where the live server is, where somebody says.
    pub live: Option<LivePosition>,
}

/// Where the live server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LivePosition {
    /// Its timeline.
    pub timeline: TimelineId,
    /// Its current write position.
    pub lsn: Lsn,
}

/// Why a rule that needs a promise does not run without one.
pub const NO_POLICY: &str = "no policy";

/// Why a rule about the bucket's rules does not run without them.
pub const NO_RULES: &str = "the bucket's rules are not known (--rules FILE)";

/// How long a hole may be due to uploads that overtake each other, in seconds.
pub const INFLIGHT_GRACE_S: i64 = 15 * 60;

impl<'a> CheckContext<'a> {
    /// An archive about which nothing was promised.
    pub fn new(archive: &'a Archive, recovery: &'a Recovery, as_of: Timestamp) -> Self {
        CheckContext {
            archive,
            recovery,
            as_of,
            promises: Promises::default(),
            evidence: Evidence::default(),
            outlook: None,
        }
    }

    /// The policy, or why a rule that judges one cannot run.
    pub fn policy(&self) -> Result<&'a Policy, NotRun> {
        self.promises.policy.ok_or_else(|| NotRun(NO_POLICY.to_owned()))
    }

    /// One key of the policy, or why the rule that judges it cannot run.
    pub fn promised<T: Clone>(&self, key: &str, pick: impl Fn(&Policy) -> Option<T>) -> Result<T, NotRun> {
        pick(self.policy()?).ok_or_else(|| NotRun(format!("{NO_POLICY} key {key}")))
    }

    /// What content showed, or why the rules that judge it cannot run.
    pub fn content(&self) -> Result<&'a ContentEvidence, NotRun> {
        self.evidence.content.ok_or_else(|| NotRun("content was not read (--verify)".to_owned()))
    }

    /// What the bucket's rules do, or why a rule about them cannot run.
    pub fn outlook(&self) -> Result<&'a Outlook, NotRun> {
        self.outlook.ok_or_else(|| NotRun(NO_RULES.to_owned()))
    }

    /// Backups with how they stand.
    pub fn backups(&self) -> impl Iterator<Item = (&'a BaseBackup, &'a Standing)> + use<'a> {
        self.archive.backups.iter().zip(&self.recovery.standings)
    }

    /// What the backups are of: one thing, or several where one place holds the dumps of several databases.
    pub fn subjects(&self) -> Vec<Option<&'a str>> {
        let all: std::collections::BTreeSet<_> = self.archive.backups.iter().map(|b| b.subject.as_deref()).collect();
        if all.is_empty() { vec![None] } else { all.into_iter().collect() }
    }

    /// Whether a moment lies less than so many seconds before the audit's.
    pub fn is_fresh(&self, moment: Timestamp, seconds: i64) -> bool {
        self.as_of.duration_since(moment).as_secs() < seconds
    }

    /// The name of a segment's file.
    pub fn segment(&self, timeline: TimelineId, number: SegmentNo) -> crate::model::SegmentName {
        number.name(timeline, self.archive.segment_size)
    }

    /// `A` for one segment, `A .. B` for several.
    pub fn segment_range(&self, timeline: TimelineId, first: SegmentNo, last: SegmentNo) -> String {
        let first_name = self.segment(timeline, first);
        if first == last { first_name.to_string() } else { format!("{first_name} .. {}", self.segment(timeline, last)) }
    }

    /// The first obstacle of each backup that belongs to a rule.
    pub fn obstacles<T: 'a>(&self, pick: impl Fn(&'a Obstacle) -> Option<T>) -> Vec<(&'a BaseBackup, T)> {
        self.backups()
            .filter_map(|(backup, standing)| Some((backup, standing.obstacles.iter().find_map(&pick)?)))
            .collect()
    }

    /// The furthest position any of some backups reaches, with its time.
    pub fn furthest(&self, backups: &[usize]) -> Option<&'a crate::catalog::Chain> {
        self.recovery.chains.iter().filter(|chain| backups.contains(&chain.backup)).max_by_key(|chain| chain.to_lsn)
    }
}
