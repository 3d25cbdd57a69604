//! Which backup, which timeline, how far: decided from the model, before anything is fetched. What cannot work is
//! refused here, with the reason.

use std::fmt;
use std::str::FromStr;

use crate::catalog::evidence::RestoreEvidence;
use crate::catalog::{Archive, BaseBackup, Chain, Obstacle, Recovery};
use crate::model::{Lsn, SegmentNo, TimelineId, Timestamp};

/// Which backup is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// The one that the tool calls LATEST; for a moment in the past, the newest one that reaches it.
    Latest,
    /// The oldest.
    Oldest,
    /// Any usable one, drawn with the run's seed.
    Random,
    /// The usable one whose last proof is oldest, or that was never proven.
    LeastRecentlyProven,
    /// By name.
    Named(String),
}

impl FromStr for Pick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => return Err("name a backup, or latest, oldest, random, least-recently-proven".to_owned()),
            "latest" | "LATEST" => Pick::Latest,
            "oldest" => Pick::Oldest,
            "random" => Pick::Random,
            "least-recently-proven" => Pick::LeastRecentlyProven,
            name => Pick::Named(name.to_owned()),
        })
    }
}

/// How far WAL is replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// As far as it takes to be consistent.
    Immediate,
    /// Everything that the archive holds on the way.
    Latest,
    /// The last commit up to a moment.
    Time(Timestamp),
    /// A position.
    Lsn(Lsn),
    /// A transaction.
    Xid(u64),
    /// A named restore point.
    Name(String),
    /// A position of the window, drawn with the run's seed.
    Random,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = "write immediate, latest, random, time=2026-11-20T14:30:00Z, lsn=16/B374D848, xid=1234 or name=..";
        let (kind, value) = text.split_once('=').map_or((text, ""), |(kind, value)| (kind, value.trim()));
        let parsed = match (kind, value) {
            ("immediate", "") => Some(Target::Immediate),
            ("latest", "") => Some(Target::Latest),
            ("random", "") => Some(Target::Random),
            ("time", value) => value.parse().ok().map(Target::Time),
            ("lsn", value) => value.parse().ok().map(Target::Lsn),
            ("xid", value) => value.parse().ok().filter(|xid| *xid > 2).map(Target::Xid),
            ("name", value) if !value.is_empty() => Some(Target::Name(value.to_owned())),
            _ => None,
        };
        parsed.ok_or_else(|| help.to_owned())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Immediate => f.write_str("immediate"),
            Target::Latest => f.write_str("latest"),
            Target::Time(time) => write!(f, "time={time}"),
            Target::Lsn(lsn) => write!(f, "lsn={lsn}"),
            Target::Xid(xid) => write!(f, "xid={xid}"),
            Target::Name(name) => write!(f, "name={name}"),
            Target::Random => f.write_str("random"),
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Which backup.
    pub pick: Pick,
    /// How far.
    pub target: Target,
    /// Along the way to this timeline; the one the model finds where absent.
    pub timeline: Option<TimelineId>,
    /// Makes random picks repeatable.
    pub seed: u64,
}

/// A restore that the model sees no obstacle to.
#[derive(Debug, Clone)]
pub struct Choice<'a> {
    /// The backup.
    pub backup: &'a BaseBackup,
    /// The way that recovery takes.
    pub chain: &'a Chain,
    /// How far; never [`Target::Random`].
    pub target: Target,
}

/// A restore that cannot work, known before anything is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that reports it.
    pub code: &'static str,
    /// Why, with numbers.
    pub message: String,
    /// How far it would come.
    pub reaches: Option<Lsn>,
    /// Objects at fault.
    pub objects: Vec<String>,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), reaches: None, objects: Vec::new() }
    }
}

/// The backups to try, best first: more than one only where a fallback is wanted.
///
/// # Errors
/// There is no such backup, or none at all.
pub fn candidates<'a>(
    archive: &'a Archive,
    recovery: &Recovery,
    evidence: &RestoreEvidence,
    wish: &Wish,
    fallback: bool,
) -> Result<Vec<&'a BaseBackup>, String> {
    if archive.backups.is_empty() {
        return Err("the archive holds no backup".to_owned());
    }
    let usable: Vec<&BaseBackup> = archive
        .backups
        .iter()
        .zip(&recovery.standings)
        .filter(|(_, standing)| standing.is_usable())
        .map(|(backup, _)| backup)
        .collect();
    let first = match &wish.pick {
        Pick::Named(name) => match archive.backup(name) {
            Some(backup) => backup,
            None => {
                let names: Vec<&str> =
                    archive.backups.iter().rev().take(5).map(|backup| backup.name.as_str()).collect();
                return Err(format!("there is no backup {name}; the newest are {}", names.join(", ")));
            }
        },
        Pick::Oldest => &archive.backups[0],
        Pick::Latest => latest(archive, recovery, wish),
        Pick::Random => match usable.len() {
            0 => latest(archive, recovery, wish),
            many => usable[(mix(wish.seed) % many as u64) as usize],
        },
        Pick::LeastRecentlyProven => {
            let proven = |backup: &BaseBackup| evidence.proof_of(archive, backup).and_then(|test| test.at);
            // Of those never proven the newest: it is the one that is needed first.
            match usable.iter().rev().min_by_key(|backup| proven(backup)) {
                Some(backup) => backup,
                None => latest(archive, recovery, wish),
            }
        }
    };
    let mut order = vec![first];
    if fallback {
        let at = archive.backups.iter().position(|backup| std::ptr::eq(backup, first)).unwrap_or(0);
        order.extend(archive.backups[..at].iter().rev());
    }
    Ok(order)
}

/// The sentinel stored last, as the tools have it; for a moment in the past the newest backup that reaches it.
fn latest<'a>(archive: &'a Archive, recovery: &Recovery, wish: &Wish) -> &'a BaseBackup {
    let newest = &archive.backups[archive.backups.len() - 1];
    let tools = archive.latest.as_deref().and_then(|name| archive.backup(name)).unwrap_or(newest);
    let reaches = |backup: &BaseBackup| choose(archive, recovery, backup, wish, None).is_ok();
    match wish.target {
        Target::Time(_) | Target::Lsn(_) if !reaches(tools) => {
            archive.backups.iter().rev().find(|backup| reaches(backup)).unwrap_or(tools)
        }
        _ => tools,
    }
}

/// Decides for one backup. `last_record` is the position of the last whole record on the way, where that was read: a
/// random position lies before it.
///
/// # Errors
/// Why it cannot work.
pub fn choose<'a>(
    archive: &'a Archive,
    recovery: &'a Recovery,
    backup: &'a BaseBackup,
    wish: &Wish,
    last_record: Option<Lsn>,
) -> Result<Choice<'a>, Refusal> {
    let at = archive.backups.iter().position(|other| std::ptr::eq(other, backup)).unwrap_or(0);
    if let Some(obstacle) = recovery.standings.get(at).and_then(|standing| standing.obstacles.first()) {
        let code = match obstacle {
            Obstacle::WalMissing { .. } | Obstacle::WalOverwritten => "RST003",
            _ => "RST001",
        };
        let mut refusal = Refusal::new(code, format!("{} cannot be restored: {obstacle}", backup.name));
        match obstacle {
            Obstacle::PartsMissing(keys) | Obstacle::Overwritten(keys) | Obstacle::ArchivedClass(keys) => {
                refusal.objects.clone_from(keys);
            }
            Obstacle::WalMissing { timeline, first, .. } => {
                refusal.objects.push(archive.segment_subject(*timeline, *first));
            }
            _ => {}
        }
        return Err(refusal);
    }
    let chains: Vec<&Chain> = recovery.chains_of(at).collect();
    if chains.is_empty() {
        return Err(Refusal::new("RST003", format!("no WAL behind the start of {} is in the archive", backup.name)));
    }
    let on = |timeline: TimelineId| chains.iter().copied().find(|chain| chain.timeline == timeline);
    let preferred = || recovery.latest.and_then(on).or_else(|| on(backup.timeline())).unwrap_or(chains[0]);
    let own = || on(backup.timeline()).unwrap_or_else(preferred);
    let named = match wish.timeline {
        Some(timeline) => Some(on(timeline).ok_or_else(|| no_way(archive, backup, timeline, &chains))?),
        None => None,
    };
    let chosen = |chain: &'a Chain, target: Target| Ok(Choice { backup, chain, target });
    match &wish.target {
        Target::Immediate => chosen(named.unwrap_or_else(own), Target::Immediate),
        Target::Latest => {
            let chain = match (named, recovery.latest) {
                (Some(chain), _) => chain,
                (None, Some(latest)) => on(latest).ok_or_else(|| no_way(archive, backup, latest, &chains))?,
                (None, None) => own(),
            };
            if let Some(blocked) = chain.blocked_at {
                return Err(blocked_at(archive, backup, chain, blocked));
            }
            chosen(chain, Target::Latest)
        }
        Target::Xid(_) | Target::Name(_) => chosen(named.unwrap_or_else(preferred), wish.target.clone()),
        Target::Lsn(lsn) => {
            let covers = |chain: &Chain| chain.from_lsn <= *lsn && *lsn <= chain.to_lsn;
            match pick_way(named, preferred(), &chains, covers) {
                Some(chain) => chosen(chain, Target::Lsn(*lsn)),
                None => {
                    let others = chains.iter().copied().filter(|chain| covers(chain)).map(|chain| chain.timeline);
                    let others: Vec<TimelineId> = others.collect();
                    Err(out_of_reach(archive, backup, named.unwrap_or_else(preferred), *lsn, &others))
                }
            }
        }
        Target::Time(time) => {
            // Bounds from upload times: only what lies surely outside is refused.
            let outside = |chain: &Chain| {
                chain.from.is_some_and(|from| *time < from) || chain.to.is_some_and(|to| *time > to.at_most)
            };
            match pick_way(named, preferred(), &chains, |chain| !outside(chain)) {
                Some(chain) => chosen(chain, Target::Time(*time)),
                None => Err(out_of_time(backup, named.unwrap_or_else(preferred), *time)),
            }
        }
        Target::Random => {
            let chain = named.unwrap_or_else(preferred);
            let end = last_record.unwrap_or(Lsn(chain.to_lsn.0.saturating_sub(1))).0;
            let room = end.saturating_sub(chain.from_lsn.0);
            let lsn = chain.from_lsn.0 + if room == 0 { 0 } else { mix(wish.seed ^ 0x7461_7267_6574) % room };
            chosen(chain, Target::Lsn(Lsn(lsn)))
        }
    }
}

/// The way named, else the preferred one, else any that covers.
fn pick_way<'a>(
    named: Option<&'a Chain>,
    preferred: &'a Chain,
    chains: &[&'a Chain],
    covers: impl Fn(&Chain) -> bool,
) -> Option<&'a Chain> {
    match named {
        Some(chain) => Some(chain).filter(|chain| covers(chain)),
        None => Some(preferred).filter(|chain| covers(chain)).or(chains.iter().copied().find(|chain| covers(chain))),
    }
}

fn no_way(archive: &Archive, backup: &BaseBackup, timeline: TimelineId, chains: &[&Chain]) -> Refusal {
    let path = archive.timelines.path(timeline);
    let others: Vec<String> = chains.iter().map(|chain| chain.timeline.to_string()).collect();
    let start = backup.start_lsn.copied().map_or_else(String::new, |lsn| format!(" at {lsn}"));
    let why = match path.piece(backup.timeline()) {
        None if path.assumed_root => {
            format!(
                "the history file of timeline {timeline} is missing or cannot be read, so PostgreSQL would find no way to it"
            )
        }
        None => {
            format!("timeline {timeline} does not descend from timeline {}, on which it was taken", backup.timeline())
        }
        Some(piece) => match piece.end {
            Some(end) => format!(
                "timeline {timeline} left timeline {} at {end}, before the backup was consistent",
                backup.timeline()
            ),
            None => format!("no WAL of timeline {timeline} follows it"),
        },
    };
    Refusal::new(
        "RST004",
        format!(
            "{} (taken{start} on timeline {}) cannot reach timeline {timeline}: {why}; PostgreSQL would not start. It \
             reaches timeline {}",
            backup.name,
            backup.timeline(),
            others.join(", ")
        ),
    )
}

fn blocked_at(
    archive: &Archive,
    backup: &BaseBackup,
    chain: &Chain,
    (timeline, number): (TimelineId, SegmentNo),
) -> Refusal {
    let name = number.name(timeline, archive.segment_size);
    Refusal {
        code: "RST004",
        message: format!(
            "recovery from {} cannot pass segment {name}, which is missing although later WAL exists: PostgreSQL would \
             promote at {} without an error line",
            backup.name, chain.to_lsn
        ),
        reaches: Some(chain.to_lsn),
        objects: vec![archive.segment_subject(timeline, number)],
    }
}

/// `others` are timelines that do reach the position, where one was named that does not.
fn out_of_reach(archive: &Archive, backup: &BaseBackup, chain: &Chain, lsn: Lsn, others: &[TimelineId]) -> Refusal {
    let mut refusal = if lsn < chain.from_lsn {
        let text = format!("{lsn} lies before {}, where {} is consistent", chain.from_lsn, backup.name);
        Refusal::new("RST004", text)
    } else if let Some(blocked) = chain.blocked_at {
        let mut refusal = blocked_at(archive, backup, chain, blocked);
        refusal.message = format!("{lsn} cannot be reached: {}", refusal.message);
        refusal
    } else {
        let (end, timeline) = (chain.to_lsn, chain.timeline);
        let more: Vec<String> = others.iter().map(ToString::to_string).collect();
        let more = match more.is_empty() {
            true => String::new(),
            false => format!("; that of {} goes further", more.join(", ")),
        };
        let text = format!("{lsn} lies behind {end}, where the archived WAL of timeline {timeline} ends{more}");
        Refusal::new("RST004", text)
    };
    refusal.reaches = Some(chain.to_lsn);
    refusal
}

fn out_of_time(backup: &BaseBackup, chain: &Chain, time: Timestamp) -> Refusal {
    let text = match (chain.from, chain.to) {
        (Some(from), _) if time < from => {
            format!("{time} lies before {from}, when {} was consistent", backup.name)
        }
        (_, Some(to)) => format!("{time} lies behind the archived WAL, which was stored until {}", to.at_most),
        _ => format!("{time} cannot be reached from {}", backup.name),
    };
    Refusal { reaches: Some(chain.to_lsn), ..Refusal::new("RST004", text) }
}

/// One step of SplitMix64: spreads a small seed over all bits.
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_and_targets_read_as_written() {
        assert_eq!("least-recently-proven".parse(), Ok(Pick::LeastRecentlyProven));
        assert_eq!("base_000000010000000000000003".parse(), Ok(Pick::Named("base_000000010000000000000003".into())));
        assert!("".parse::<Pick>().is_err());
        for text in ["immediate", "latest", "random", "lsn=0/3000028", "xid=734", "name=before release"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("time=2026-11-20T14:30:00Z".parse::<Target>().unwrap().to_string(), "time=2026-11-20T14:30:00Z");
        for bad in ["", "now", "time=yesterday", "lsn=3", "xid=0", "xid=x", "name=", "immediate=1", "latest=2"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
