//! Promises, and what a bucket's rules will do to them.

pub mod config;
pub mod files;
mod finding;
pub mod inventory;
pub mod lifecycle;
pub mod outlook;
pub mod plan;
pub mod retention;
pub mod shape;
mod span;
pub mod value;
pub mod verdict;

#[cfg(test)]
pub(crate) mod test_data;

#[cfg(feature = "config")]
pub use config::parse_config;
pub use config::{ClusterConfig, Config, ConfigError, Exception, Policy};
pub use finding::{PlanFinding, PlanWaiver, Severity};
pub use span::{ByteSize, Percent, Sample, Span, UnitError};
pub use verdict::{BucketVerdict, CheckInput, DeletionInput, PlanVerdict, check_deletions, check_plan};
