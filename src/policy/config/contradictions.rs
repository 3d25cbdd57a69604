use serde::Serialize;

use crate::model::StorageClass;
use crate::policy::Span;

use super::{Config, LayoutName, Policy, Retention};

/// Two statements of the file that cannot both hold, or one that nothing could satisfy. Found without any bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contradiction {
    /// The cluster, or `defaults`.
    pub cluster: String,
    /// Line of the key that should change, where it is known.
    pub line: Option<u32>,
    /// Dotted names of the keys.
    pub keys: Vec<&'static str>,
    /// What is wrong, with the values.
    pub message: String,
}

impl Config {
    /// What the file contradicts itself in, cluster by cluster. A contradiction within the defaults is told once for
    /// each cluster that it reaches, because another key of the cluster may resolve it.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        for cluster in &self.clusters {
            let policy = self.policy(cluster);
            let is_files = cluster.layout == Some(LayoutName::Files);
            let mut check = Check { cluster: &cluster.name, policy: &policy, is_files, found: &mut found };
            check.all();
        }
        if self.clusters.is_empty() {
            Check { cluster: "defaults", policy: &self.defaults, is_files: false, found: &mut found }.all();
        }
        found
    }
}

/// Hours until the usual restore request has been answered. `None`: read at once.
fn restore_hours(class: StorageClass) -> Option<u64> {
    match class {
        StorageClass::Glacier => Some(5),
        StorageClass::DeepArchive => Some(12),
        StorageClass::AzureArchive => Some(15),
        _ => None,
    }
}

struct Check<'a> {
    cluster: &'a str,
    policy: &'a Policy,
    is_files: bool,
    found: &'a mut Vec<Contradiction>,
}

impl Check<'_> {
    fn all(&mut self) {
        self.retention();
        self.readable_in_time();
        self.lock();
        self.window();
        self.copy();
        self.finite();
    }

    fn note(&mut self, line: Option<u32>, keys: &[&'static str], message: String) {
        self.found.push(Contradiction { cluster: self.cluster.to_owned(), line, keys: keys.to_vec(), message });
    }

    /// A coarser generation that is kept no longer than a finer one adds nothing.
    fn retention(&mut self) {
        let Retention { daily, weekly, monthly, yearly } = &self.policy.retention;
        let tiers = [
            ("retention.daily", daily),
            ("retention.weekly", weekly),
            ("retention.monthly", monthly),
            ("retention.yearly", yearly),
        ];
        let set: Vec<_> = tiers.iter().filter_map(|(name, key)| Some((*name, key.copied()?, key.line()))).collect();
        for pair in set.windows(2) {
            let [(fine, fine_keep, _), (coarse, coarse_keep, line)] = pair else { continue };
            if coarse_keep <= fine_keep {
                self.note(
                    *line,
                    &[fine, coarse],
                    format!("{coarse} ({coarse_keep}) has to be longer than {fine} ({fine_keep})"),
                );
            }
        }
    }

    fn readable_in_time(&mut self) {
        let rto = &self.policy.rto;
        let (Some(limit), Some(classes)) = (rto.copied(), self.policy.storage.allowed_classes_in_window.get()) else {
            return;
        };
        for class in classes {
            let Some(hours) = restore_hours(*class) else { continue };
            if limit < Span::from_seconds(hours * 3600) {
                self.note(
                    rto.line(),
                    &["rto", "storage.allowed_classes_in_window"],
                    format!("rto ({limit}) is below the {hours} h that objects in {} take to restore", class.name()),
                );
            }
        }
    }

    fn lock(&mut self) {
        let lock = &self.policy.immutability.min_lock;
        let (Some(length), Some(window)) = (lock.copied(), self.policy.recovery_window.copied()) else { return };
        let margin = self.policy.immutability.margin.copied().unwrap_or(Span::ZERO);
        if length > window.plus(margin) {
            self.note(
                lock.line(),
                &["immutability.min_lock", "recovery_window"],
                format!(
                    "immutability.min_lock ({length}) is longer than recovery_window plus margin ({}): objects could \
                     not be cleaned up when they are no longer needed",
                    window.plus(margin)
                ),
            );
        }
    }

    fn window(&mut self) {
        let window = &self.policy.recovery_window;
        let Some(length) = window.copied() else { return };
        // A window of nothing promises no point in time at all, and dumps have no WAL.
        if let Some(rpo) = self.policy.rpo.copied()
            && rpo > length
            && length > Span::ZERO
            && !self.is_files
        {
            self.note(
                self.policy.rpo.line(),
                &["rpo", "recovery_window"],
                format!("rpo ({rpo}) is longer than recovery_window ({length})"),
            );
        }
        if let Some(max_age) = self.policy.max_age.copied() {
            let retention = &self.policy.retention;
            let kept = [
                ("recovery_window", Some(length)),
                ("retention.daily", retention.daily.copied()),
                ("retention.weekly", retention.weekly.copied()),
                ("retention.monthly", retention.monthly.copied()),
                ("retention.yearly", retention.yearly.copied()),
            ];
            for (name, kept) in kept {
                if let Some(kept) = kept.filter(|kept| *kept > max_age) {
                    self.note(
                        self.policy.max_age.line(),
                        &["max_age", name],
                        format!("max_age ({max_age}) forbids what {name} ({kept}) promises"),
                    );
                }
            }
        }
    }

    fn copy(&mut self) {
        let copy = &self.policy.copy;
        if copy.required.copied() == Some(true) && !copy.archive.is_set() {
            self.note(
                copy.required.line(),
                &["copy.required", "copy.archive"],
                "copy.required is true, but copy.archive does not say where the copy is".to_owned(),
            );
        }
        if let Some(address) = copy.archive.get()
            && let Err(error) = address.parse::<super::ArchiveAddress>()
        {
            self.note(copy.archive.line(), &["copy.archive"], error.to_string());
        }
    }

    /// `forever` promises something only where data is kept.
    fn finite(&mut self) {
        let policy = self.policy;
        let keys = [
            ("rpo", &policy.rpo),
            ("backup_max_age", &policy.backup_max_age),
            ("full_backup_every", &policy.full_backup_every),
            ("rto", &policy.rto),
            ("test_restore_every", &policy.test_restore_every),
            ("max_age", &policy.max_age),
            ("late_after", &policy.late_after),
            ("immutability.margin", &policy.immutability.margin),
            ("copy.max_lag", &policy.copy.max_lag),
        ];
        for (name, key) in keys {
            if key.copied().is_some_and(Span::is_forever) {
                self.note(key.line(), &[name], format!("{name}: forever cannot be checked; leave the key out"));
            }
        }
    }
}
