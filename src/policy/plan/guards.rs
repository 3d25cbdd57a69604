//! Guards of a bucket that a plan takes away: locks, replication, encryption, access, the bucket itself.

use crate::policy::Severity;
use crate::policy::value::{Field, Node};

use super::aws;
use super::model::{LockDefault, PlanProblem, Setting};
use super::resources::{Buckets, Part};
use super::terraform::{Change, Resource};

impl<'r> Buckets<'r> {
    pub(super) fn lock(&mut self, resource: &'r Resource) {
        for part in self.parts(resource) {
            if let Some(before) = part.before {
                self.changes[part.slot].before.lock = aws::lock(before);
            }
            self.changes[part.slot].after.lock = part.after.map_or(Setting::Known(None), aws::lock);
            self.judge_lock(part.slot, resource);
        }
    }

    fn judge_lock(&mut self, slot: usize, resource: &Resource) {
        let change = &self.changes[slot];
        let Some(Some(before)) = change.before.lock.known().copied() else { return };
        let weaker =
            |after: Option<LockDefault>| after.is_none_or(|after| after.span < before.span || after.mode < before.mode);
        let (bad, what) = match &change.after.lock {
            Setting::Known(after) if weaker(*after) => match after {
                Some(after) => (true, format!("{} {}", after.mode.name(), after.span)),
                None => (true, "none".to_owned()),
            },
            Setting::Unknown(why) => (true, format!("unknown ({why})")),
            _ => (false, String::new()),
        };
        if bad {
            let message = format!(
                "default object lock of {} becomes weaker: {} {} before, {what} after; objects written from then on are \
                 protected less",
                change.name(),
                before.mode.name(),
                before.span
            );
            let advice = "keep the default retention at least as long as immutability.min_lock".to_owned();
            self.problem(slot, "LFC013", Severity::Error, resource, [message, advice]);
        }
    }

    pub(super) fn replication(&mut self, resource: &'r Resource) {
        for part in self.parts(resource) {
            let enabled = |side: Option<&Node>| {
                let rules = side.map_or(&[][..], |side| side.any(&["rule", "rules"]).items());
                rules.iter().filter(|rule| rule.get("status").text() != Some("Disabled")).count()
            };
            let (before, after) = (enabled(part.before), enabled(part.after));
            if before > after {
                let name = self.changes[part.slot].name().to_owned();
                let message = match part.after {
                    None => format!("replication of {name} is removed: the copy stops growing"),
                    Some(_) => format!("replication of {name} shrinks from {before} active rules to {after}"),
                };
                let advice = "keep replication, or remove copy.archive from the policy first".to_owned();
                self.problem(part.slot, "RET008", Severity::Error, resource, [message, advice]);
            }
        }
    }

    pub(super) fn public_access(&mut self, resource: &'r Resource) {
        const SWITCHES: [&str; 4] =
            ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"];
        for part in self.parts(resource) {
            let on = |side: Option<&Node>, switch: &str| {
                side.is_some_and(|side| side.get(switch).as_bool() == Field::Known(true))
            };
            let opened: Vec<&str> =
                SWITCHES.into_iter().filter(|switch| on(part.before, switch) && !on(part.after, switch)).collect();
            if !opened.is_empty() {
                let name = self.changes[part.slot].name().to_owned();
                let message = format!("{name} can become public: {} no longer on", opened.join(", "));
                let advice = "keep all four switches of the public access block on".to_owned();
                self.problem(part.slot, "SEC001", Severity::Critical, resource, [message, advice]);
            }
        }
    }

    pub(super) fn encryption(&mut self, resource: &'r Resource) {
        for part in self.parts(resource) {
            let default = |side: Option<&Node>| {
                let rule =
                    side.map(|side| side.get("rule").block().get("apply_server_side_encryption_by_default").block());
                let text = |name: &str| rule.and_then(|rule| rule.get(name).text()).unwrap_or("").to_owned();
                (text("sse_algorithm"), text("kms_master_key_id"))
            };
            let (old, new) = (default(part.before), default(part.after));
            for (_, key) in [&old, &new] {
                if !key.is_empty() {
                    self.keys.push((part.slot, key.clone()));
                }
            }
            let unknown = part.after.is_some_and(|after| after.get("rule").unknown_within().is_some());
            if part.before.is_some() && old.0.starts_with("aws:kms") && !new.0.starts_with("aws:kms") && !unknown {
                let name = self.changes[part.slot].name().to_owned();
                let to = if new.0.is_empty() { "the account's default" } else { new.0.as_str() };
                let message = format!("default encryption of {name} falls from {} to {to}", old.0);
                let advice = "keep the algorithm that storage.encryption asks for".to_owned();
                self.problem(part.slot, "SEC002", Severity::Error, resource, [message, advice]);
            }
        }
    }

    /// A deleted key takes everything under it along.
    pub(super) fn key(&mut self, resource: &'r Resource) {
        if !matches!(resource.change, Change::Delete | Change::Replace) {
            return;
        }
        let ids: Vec<&str> =
            ["arn", "key_id", "id"].iter().filter_map(|name| resource.before.get(name).text()).collect();
        let days = match resource.before.any(&["deletion_window_in_days"]).as_count() {
            Field::Known(days) => days,
            _ => 30,
        };
        let slot = self
            .keys
            .iter()
            .find(|(_, key)| ids.iter().any(|id| id == key || key.ends_with(&format!("/{id}"))))
            .map(|(slot, _)| *slot);
        let when = if resource.kind == "aws_kms_key" { format!("{days} d after apply") } else { "after apply".into() };
        let advice = "keep the key until no object of the window is encrypted with it".to_owned();
        match slot {
            Some(slot) => {
                let name = self.changes[slot].name().to_owned();
                let message =
                    format!("the encryption key of {name} is deleted: its objects cannot be read from {when} on");
                self.problem(slot, "SEC004", Severity::Critical, resource, [message, advice]);
            }
            None => self.problems.push(PlanProblem {
                code: "SEC004",
                severity: Severity::Warning,
                address: resource.address.clone(),
                message: format!(
                    "an encryption key is deleted; if backups are encrypted with it, they cannot be read from {when} on"
                ),
                advice,
            }),
        }
    }

    pub(super) fn destroyed(&mut self, resource: &'r Resource, part: &Part<'r>) {
        let force =
            |side: Option<&Node>| side.is_some_and(|side| side.get("force_destroy").as_bool() == Field::Known(true));
        let change = &self.changes[part.slot];
        let name = change.name().to_owned();
        if matches!(part.change, Change::Delete | Change::Replace) && part.before.is_some() {
            let verb = if part.change == Change::Delete { "deletes" } else { "replaces" };
            let content = if force(part.before) {
                "with everything in it (force_destroy)"
            } else {
                "the apply fails unless someone empties it first"
            };
            let message = format!("the plan {verb} bucket {name}: {content}");
            let advice =
                "take the bucket out of the plan (lifecycle prevent_destroy, or terraform state rm)".to_owned();
            self.problem(part.slot, "LFC017", Severity::Critical, resource, [message, advice]);
        } else if force(part.after) && !force(part.before) {
            let message =
                format!("bucket {name} may from now on be destroyed with everything in it (force_destroy = true)");
            let advice = "set force_destroy to false for a bucket that holds backups".to_owned();
            self.problem(part.slot, "LFC017", Severity::Critical, resource, [message, advice]);
        }
    }

    /// Retention policy, soft delete and public access of a Google bucket.
    pub(super) fn google_guards(&mut self, resource: &'r Resource, part: &Part<'r>) {
        let change = &self.changes[part.slot];
        let name = change.name().to_owned();
        let (Some(before), Some(after)) = (part.before, part.after) else { return };
        let shorter = match (&change.before.retention, &change.after.retention) {
            (Setting::Known(old), Setting::Known(new)) if new < old => Some(format!("{old} before, {new} after")),
            (Setting::Known(old), Setting::Unknown(why)) => Some(format!("{old} before, unknown after ({why})")),
            _ => None,
        };
        if let Some(change) = shorter {
            let message = format!("the retention policy of {name} becomes weaker: {change}");
            let advice = "keep it at least as long as immutability.min_lock".to_owned();
            self.problem(part.slot, "LFC013", Severity::Error, resource, [message, advice]);
        }
        let enforced = |side: &Node| side.get("public_access_prevention").text() == Some("enforced");
        if enforced(before) && !enforced(after) {
            let message = format!("{name} can become public: public_access_prevention is no longer enforced");
            let advice = "keep public_access_prevention = \"enforced\"".to_owned();
            self.problem(part.slot, "SEC001", Severity::Critical, resource, [message, advice]);
        }
    }
}
