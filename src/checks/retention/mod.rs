pub(super) mod backups_few;
pub(super) mod generation_missing;
pub(super) mod kept_too_long;
pub(super) mod window_hole;
pub(super) mod window_short;
