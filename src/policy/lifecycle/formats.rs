//! Raw lifecycle files: what the providers' own tools print.

use crate::policy::Span;
use crate::policy::value::{Field, Node};

use super::{Decoded, Provider, Reading, Versioning, decode_gcs, decode_s3, xml};

/// A lifecycle configuration from a file, with what the file says about its bucket. Not yet decoded: unknown values are
/// possible only in plans, but the shape is the same.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketFile {
    /// Whose rules.
    pub provider: Provider,
    /// Name of the bucket, where the file has it.
    pub bucket: Option<String>,
    /// Versioning, where the file has it.
    pub versioning: Option<Versioning>,
    /// GCS retention policy, where the file has it.
    pub retention: Option<Span>,
    /// GCS soft delete, where the file has it.
    pub soft_delete: Option<Span>,
    rules: Node,
}

impl BucketFile {
    /// The rules.
    pub fn decode(&self, reading: Reading) -> Decoded {
        match self.provider {
            Provider::Gcs => decode_gcs(&self.rules, reading),
            provider => decode_s3(&self.rules, provider, reading),
        }
    }

    /// The rules in the shape of the provider's API.
    pub(crate) fn into_rules(self) -> Node {
        self.rules
    }

    fn new(provider: Provider, rules: Node) -> Self {
        BucketFile { provider, bucket: None, versioning: None, retention: None, soft_delete: None, rules }
    }
}

/// Reads S3 JSON (`aws s3api get-bucket-lifecycle-configuration`) or XML, MinIO's `mc ilm rule export`, and GCS JSON
/// (`gcloud storage buckets describe --format=json`, `gsutil lifecycle get`) or XML.
///
/// # Errors
/// Why the text is none of these.
pub fn read_bucket_file(text: &str) -> Result<BucketFile, String> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if start.contains("NoSuchLifecycleConfiguration") && start.len() < 4096 {
        // The API's way to say "no rules": not a failure.
        return Ok(BucketFile::new(Provider::S3, Node::map([("Rules", Node::List(Vec::new()))])));
    }
    if start.starts_with('<') {
        return from_xml(start);
    }
    let value: serde_json::Value =
        serde_json::from_str(start).map_err(|error| format!("neither JSON nor XML: {error}"))?;
    from_json(&Node::from_json(&value)).ok_or_else(|| {
        "no lifecycle configuration: no top-level \"Rules\" (S3), \"lifecycle\" or \"rule\" (GCS)".to_owned()
    })
}

/// The same, from JSON that has been read already.
pub(crate) fn from_json(root: &Node) -> Option<BucketFile> {
    let root = root.block();
    if !root.get("Rules").is_absent() {
        return Some(BucketFile::new(s3_or_minio(root.get("Rules")), root.clone()));
    }
    let lifecycle = root.any(&["lifecycle", "lifecycle_config"]);
    let is_bucket = !lifecycle.is_absent() || root.get("kind").text() == Some("storage#bucket");
    let rules = if is_bucket { lifecycle } else { root };
    if !is_bucket && rules.get("rule").is_absent() {
        return None;
    }
    let mut file = BucketFile::new(Provider::Gcs, rules.clone());
    file.bucket = root.get("name").text().map(str::to_owned).filter(|_| is_bucket);
    let versioning = match root.get("versioning").get("enabled").as_bool() {
        Field::Absent => root.get("versioning_enabled").as_bool(),
        found => found,
    };
    if let Field::Known(enabled) = versioning {
        file.versioning = Some(if enabled { Versioning::Enabled } else { Versioning::Disabled });
    }
    let seconds = |node: &Node| match node.as_count() {
        Field::Known(seconds) => Some(Span::from_seconds(seconds)),
        _ => None,
    };
    let retention = root.any(&["retentionPolicy", "retention_policy"]);
    file.retention = seconds(retention.any(&["retentionPeriod", "retention_period"]));
    let soft = root.any(&["softDeletePolicy", "soft_delete_policy"]);
    file.soft_delete = seconds(soft.any(&["retentionDurationSeconds", "retention_duration_seconds"]));
    Some(file)
}

/// MinIO writes dates that are not set as the first day of the first year.
fn s3_or_minio(rules: &Node) -> Provider {
    let unset = |node: &Node| node.text().is_some_and(|text| text.starts_with("0001-01-01"));
    let minio = rules.items().iter().any(|rule| {
        unset(rule.get("Expiration").get("Date"))
            || unset(rule.get("Transition").get("Date"))
            || !rule.get("DelMarkerExpiration").is_absent()
            || !rule.get("Expiration").get("ExpiredObjectAllVersions").is_absent()
    });
    if minio { Provider::Minio } else { Provider::S3 }
}

fn from_xml(text: &str) -> Result<BucketFile, String> {
    let (root, node) = xml::read(text)?;
    if root == "Error" && node.get("Code").text() == Some("NoSuchLifecycleConfiguration") {
        return Ok(BucketFile::new(Provider::S3, Node::map([("Rules", Node::List(Vec::new()))])));
    }
    if root != "LifecycleConfiguration" {
        return Err(format!(
            "the document is <{}>, not <LifecycleConfiguration>",
            crate::policy::span::printable(&root)
        ));
    }
    let rules = node.get("Rule");
    if rules.items().iter().any(|rule| !rule.get("Action").is_absent()) {
        let rules = rules.items().iter().map(gcs_rule).collect();
        return Ok(BucketFile::new(Provider::Gcs, Node::map([("rule", Node::List(rules))])));
    }
    let rules = Node::List(rules.items().to_vec());
    Ok(BucketFile::new(s3_or_minio(&rules), Node::map([("Rules", rules)])))
}

/// GCS's XML API uses other names than its JSON API.
fn gcs_rule(rule: &Node) -> Node {
    let action = rule.get("Action");
    let action = if let Some(class) = action.get("SetStorageClass").text() {
        Node::map([("type", "SetStorageClass".into()), ("storageClass", class.into())])
    } else if !action.get("AbortIncompleteMultipartUpload").is_absent() {
        Node::map([("type", "AbortIncompleteMultipartUpload".into())])
    } else if !action.get("Delete").is_absent() {
        Node::map([("type", "Delete".into())])
    } else {
        action.clone()
    };
    const NAMES: [(&str, &str); 11] = [
        ("Age", "age"),
        ("CreatedBefore", "createdBefore"),
        ("IsLive", "isLive"),
        ("NumberOfNewerVersions", "numNewerVersions"),
        ("DaysSinceNoncurrentTime", "daysSinceNoncurrentTime"),
        ("NoncurrentTimeBefore", "noncurrentTimeBefore"),
        ("DaysSinceCustomTime", "daysSinceCustomTime"),
        ("CustomTimeBefore", "customTimeBefore"),
        ("MatchesStorageClass", "matchesStorageClass"),
        ("MatchesPrefix", "matchesPrefix"),
        ("MatchesSuffix", "matchesSuffix"),
    ];
    let condition = match rule.get("Condition") {
        Node::Map(members) => Node::Map(
            members
                .iter()
                .map(|(name, value)| {
                    let api = NAMES.iter().find(|(xml, _)| xml == name).map_or(name.as_str(), |(_, api)| *api);
                    (api.to_owned(), value.clone())
                })
                .collect(),
        ),
        other => other.clone(),
    };
    Node::map([("action", action), ("condition", condition)])
}

#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    if let Ok(file) = read_bucket_file(&String::from_utf8_lossy(bytes)) {
        let _ = (file.decode(Reading::Worst), file.decode(Reading::Best));
    }
}
