pub(super) mod archive_without_policy;
pub(super) mod waiver_expired;
