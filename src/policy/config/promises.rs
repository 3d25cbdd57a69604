//! Every key of a policy. A missing key means "not checked"; there are no hidden defaults.

use serde::Serialize;

use crate::model::StorageClass;
use crate::policy::{ByteSize, Percent, Sample, Span};

use super::assertion::Assertion;
use super::key::{Explain, KeyRow, policy_table};

policy_table! {
    /// What must stay recoverable for one cluster: `[defaults]` with the cluster's own keys over them.
    pub struct Policy {
        keys {
            /// Largest age of the newest archived WAL, at the end of the gapless chain.
            rpo: Span => ["WAL002"],
            /// Largest age of the newest complete base backup.
            backup_max_age: Span => ["BKP006"],
            /// Usable full backups, deltas not counted.
            min_full_backups: u32 => ["RET002", "LFC006"],
            /// Expected distance between full backups; otherwise the observed median.
            full_backup_every: Span => ["LFC020", "BKP007"],
            /// Point-in-time recovery to any instant from now back to this.
            recovery_window: Span => ["RET001", "RET004", "LFC001", "LFC003", "LFC005", "LFC020"],
            /// Everything for any point in the window is readable within this.
            rto: Span => ["RST007", "LFC004"],
            /// Bytes per second that a restore gets, for estimates.
            download_rate: ByteSize => [],
            /// A wrong delete can be taken back this long.
            undo_window: Span => ["LFC008"],
            /// Longest time between successful test restores.
            test_restore_every: Span => ["RST008"],
            /// Whether the cluster always writes.
            activity: Activity => [],
            /// A JSON file with the live server's timeline and LSN, written by a monitor.
            live_status: String => [],
            /// Largest departure of a backup's size from its series.
            backup_size_change: Percent => ["BKP008"],
            /// Nothing may be kept longer.
            max_age: Span => ["RET005"],
            /// A segment uploaded this long after its neighbours is late.
            late_after: Span => ["WAL010"],
        }
        tables {
            /// Restore points to keep beyond the window.
            retention: Retention,
            /// Classes, encryption, public access, versioning.
            storage: StoragePolicy,
            /// Object lock.
            immutability: Immutability,
            /// The second location.
            copy: CopyPolicy,
            /// Budget for objects that disappear.
            deletions: Deletions,
            /// What `verify` reads.
            verify: VerifyPolicy,
            /// What a test restore does.
            restore_test: RestoreTestPolicy,
        }
    }
}

policy_table! {
    /// Grandfather-father-son: per calendar slot in UTC at least one usable backup that lives this long.
    pub struct Retention {
        keys {
            /// One for each day.
            daily: Span => ["RET003", "LFC001"],
            /// One for each ISO week.
            weekly: Span => ["RET003", "LFC001"],
            /// One for each month.
            monthly: Span => ["RET003", "LFC001"],
            /// One for each year.
            yearly: Span => ["RET003", "LFC001", "LFC019"],
        }
        tables {}
    }
}

policy_table! {
    /// How objects have to be stored.
    pub struct StoragePolicy {
        keys {
            /// Any other class inside the window is a finding.
            allowed_classes_in_window: Vec<StorageClass> => ["LFC004", "LFC021"],
            /// What bucket defaults and objects have to use.
            encryption: Encryption => ["SEC002", "SEC004"],
            /// Whether public access has to be impossible.
            public_access: PublicAccess => ["SEC001"],
            /// Whether versioning has to be enabled; suspended is not enabled.
            versioning: VersioningPolicy => ["LFC007"],
        }
        tables {}
    }
}

policy_table! {
    /// What object lock has to guarantee.
    pub struct Immutability {
        keys {
            /// Every object of the window is locked at least this long after its upload.
            min_lock: Span => ["LFC013"],
            /// The mode of the lock.
            mode: LockMode => ["LFC013"],
            /// Lifecycle may not act earlier than retention plus this.
            margin: Span => ["LFC018"],
        }
        tables {}
    }
}

policy_table! {
    /// The second copy. It holds the same window.
    pub struct CopyPolicy {
        keys {
            /// Whether there has to be one.
            required: bool => ["RET008", "LFC022"],
            /// Its address.
            archive: String => ["RET008", "LFC022"],
            /// It has to lie in another region.
            other_region: bool => ["LFC022"],
            /// It has to lie in another account.
            other_account: bool => ["LFC022"],
            /// Largest age of an object that is here but not there.
            max_lag: Span => ["RET008"],
        }
        tables {}
        here {
            /// Who reads it: `copy.profile`, `copy.role_arn` and so on.
            identity: Identity,
        }
    }
}

policy_table! {
    /// Which credentials and endpoint a location is read with.
    pub struct Identity {
        keys {
            /// AWS profile.
            profile: String => [],
            /// Role to assume.
            role_arn: String => [],
            /// External id for that role.
            external_id: String => [],
            /// Region of the bucket.
            region: String => [],
            /// Server other than the cloud's own.
            endpoint_url: String => [],
            /// Bucket in the path instead of the host name.
            path_style: bool => [],
            /// Google service account to impersonate.
            impersonate_service_account: String => [],
            /// A wal-g configuration file with this cluster's prefix and keys.
            walg_config: String => [],
            /// Read without credentials.
            anonymous: bool => [],
            /// Agree to pay for requests.
            requester_pays: bool => [],
        }
        tables {}
    }
}

policy_table! {
    /// How many objects may disappear, and by whose hand.
    pub struct Deletions {
        keys {
            /// Objects in one day.
            max_per_day: u64 => ["RET006"],
            /// Share of all objects in one day.
            max_share_per_day: Percent => ["RET006"],
            /// Known deleters, as in `wal-g` and `lifecycle`.
            expected_by: Vec<String> => ["RET007"],
        }
        tables {}
    }
}

policy_table! {
    /// How much content is read, and how often.
    pub struct VerifyPolicy {
        keys {
            /// Part of the archive to read in one run.
            sample: Sample => [],
            /// Most bytes to read in one run.
            budget: ByteSize => [],
            /// Classes that may be fetched from.
            allow_classes: Vec<StorageClass> => [],
            /// A proof older than this is made again.
            interval: Span => [],
        }
        tables {}
    }
}

policy_table! {
    /// How test restores are made.
    pub struct RestoreTestPolicy {
        keys {
            /// Which backup: `latest`, `oldest`, `random`, `least-recently-proven` or a name.
            pick: String => [],
            /// How far: `immediate`, `latest`, `random`, `time=..`, `lsn=..`, `xid=..`, `name=..`.
            target: RestoreTarget => [],
            /// What has to hold on the restored server.
            assertions: Vec<Assertion> => ["RST005"],
            /// Larger backups are not restored.
            max_restore_bytes: ByteSize => [],
            /// Most WAL to replay, in bytes or time.
            max_replay: ReplayLimit => [],
            /// Longest run.
            max_time: Span => [],
            /// Whether this machine is like the one a real recovery would use.
            representative: bool => [],
            /// Consent to fetch PostgreSQL binaries.
            download_postgres: bool => [],
            /// Directory with PostgreSQL's programs.
            pg_bin: String => [],
            /// User to run PostgreSQL as when started by root.
            run_as: String => [],
            /// If the newest backup fails, try the one before.
            fallback: bool => [],
            /// Check indexes and heaps with amcheck.
            amcheck: bool => [],
            /// Read every relation once.
            full_read: bool => [],
            /// Longest time for amcheck and the full read together.
            check_time: Span => [],
            /// Share of relations for amcheck and the full read.
            check_sample: Sample => [],
            /// A command to run before the restored server stops.
            then: String => [],
        }
        tables {}
    }
}

/// Whether a cluster always writes; decides how `rpo` is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Activity {
    /// Always: silence is a fault.
    Steady,
    /// Silence may be idleness.
    IdleOk,
}

/// What has to be encrypted, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Encryption {
    /// Nothing is asked for.
    None,
    /// Any encryption at rest.
    Any,
    /// With a key of a key management service.
    Kms,
}

/// Whether public access has to be impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PublicAccess {
    /// Blocked for the whole bucket.
    Blocked,
    /// Not asked for.
    Any,
}

/// Whether versioning has to be enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum VersioningPolicy {
    /// Enabled; suspended is not.
    Required,
    /// Not asked for.
    Any,
}

/// Mode of an object lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LockMode {
    /// A privileged caller can lift it.
    Governance,
    /// Nobody can.
    Compliance,
}

/// How far a test restore replays, checked for form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RestoreTarget(pub String);

/// A limit on replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplayLimit {
    /// Bytes of WAL.
    Bytes(ByteSize),
    /// Time between the backup and the target.
    Time(Span),
}

macro_rules! explain_names {
    ($($name:ident { $($variant:ident = $text:literal),* })*) => {$(
        impl $name {
            /// Its name as the file writes it.
            pub fn name(self) -> &'static str {
                match self {
                    $( $name::$variant => $text, )*
                }
            }
        }

        impl Explain for $name {
            fn explain(&self) -> String {
                format!("{:?}", self.name())
            }
        }

        #[cfg(feature = "config")]
        impl super::reader::FromItem for $name {
            fn from_item(item: super::reader::Item, place: &super::reader::Place<'_>) -> Option<Self> {
                super::reader::one_of(item, place, &[$( ($text, $name::$variant) ),*])
            }
        }
    )*};
}

explain_names! {
    Activity { Steady = "steady", IdleOk = "idle-ok" }
    Encryption { None = "none", Any = "any", Kms = "kms" }
    PublicAccess { Blocked = "blocked", Any = "any" }
    VersioningPolicy { Required = "required", Any = "any" }
    LockMode { Governance = "governance", Compliance = "compliance" }
}

impl Explain for StorageClass {
    fn explain(&self) -> String {
        format!("{:?}", self.name())
    }
}

impl Explain for RestoreTarget {
    fn explain(&self) -> String {
        self.0.explain()
    }
}

impl Explain for ReplayLimit {
    fn explain(&self) -> String {
        match self {
            ReplayLimit::Bytes(bytes) => bytes.explain(),
            ReplayLimit::Time(time) => time.explain(),
        }
    }
}

impl Policy {
    /// The keys that nobody judges, each with the reason: it is not set, or none of its rules is among those that run.
    /// A table without any key is one line.
    pub fn not_checked(&self, rules_that_judge: &[&str]) -> Vec<String> {
        let rows: Vec<KeyRow> = self.rows("").into_iter().filter(|row| !row.rules.is_empty()).collect();
        let mut lines = Vec::new();
        let mut at = 0;
        while at < rows.len() {
            let table = rows[at].key.split_once('.').map(|(table, _)| table);
            let group = match table {
                Some(table) => rows[at..].iter().take_while(|row| row.key.starts_with(&format!("{table}."))).count(),
                None => 1,
            };
            let group = &rows[at..at + group.max(1)];
            at += group.len();
            match table {
                Some(table) if group.iter().all(|row| row.value.is_none()) => {
                    lines.push(format!("{table}: no policy key"));
                }
                _ => lines.extend(group.iter().filter_map(|row| why_not_checked(row, rules_that_judge))),
            }
        }
        lines
    }

    /// Whether the policy promises anything at all.
    pub fn promises_nothing(&self) -> bool {
        self.rows("").iter().all(|row| row.rules.is_empty() || row.value.is_none())
    }
}

fn why_not_checked(row: &KeyRow, rules_that_judge: &[&str]) -> Option<String> {
    if row.value.is_none() {
        return Some(format!("{}: no policy key", row.key));
    }
    let judged = row.rules.iter().any(|rule| rules_that_judge.contains(rule));
    (!judged).then(|| format!("{}: no rule that ran judges it ({})", row.key, row.rules.join(", ")))
}

#[cfg(feature = "config")]
mod read {
    use crate::model::StorageClass;
    use crate::policy::config::reader::{FromItem, Item, Place, Value, one_of};

    use super::{ReplayLimit, RestoreTarget};

    impl FromItem for StorageClass {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            const CLASSES: &[StorageClass] = &[
                StorageClass::Standard,
                StorageClass::StandardIa,
                StorageClass::OnezoneIa,
                StorageClass::IntelligentTiering,
                StorageClass::GlacierIr,
                StorageClass::Glacier,
                StorageClass::DeepArchive,
                StorageClass::ReducedRedundancy,
                StorageClass::ExpressOnezone,
                StorageClass::Nearline,
                StorageClass::Coldline,
                StorageClass::Archive,
                StorageClass::AzureOnline,
                StorageClass::AzureArchive,
            ];
            let names: Vec<_> = CLASSES.iter().map(|class| (class.name(), *class)).collect();
            one_of(item, place, &names)
        }
    }

    impl FromItem for RestoreTarget {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            let line = item.line;
            let text = String::from_item(item, place)?;
            let fixed = ["immediate", "latest", "random"].contains(&text.as_str());
            let with_value = text.split_once('=').is_some_and(|(kind, value)| {
                ["time", "lsn", "xid", "name"].contains(&kind) && !value.trim().is_empty()
            });
            if fixed || with_value {
                return Some(RestoreTarget(text));
            }
            let help = "write immediate, latest, random, time=.., lsn=.., xid=.. or name=..";
            place.refuse(line, format!("no such target; {help}"), None)
        }
    }

    impl FromItem for ReplayLimit {
        fn from_item(item: Item, place: &Place<'_>) -> Option<Self> {
            let line = item.line;
            let Value::Text(text) = item.value else {
                return place.refuse(line, "write an amount of WAL or a time, as in 64GiB or 2h", None);
            };
            if let Ok(time) = text.parse() {
                return Some(ReplayLimit::Time(time));
            }
            match text.parse() {
                Ok(bytes) if !text.trim().ends_with(|c: char| c.is_ascii_digit()) => Some(ReplayLimit::Bytes(bytes)),
                _ => place.refuse(line, "write an amount of WAL or a time, as in 64GiB or 2h", None),
            }
        }
    }
}
