//! What retention promises keep: calendar slots, the guaranteed window, and the engines that delete.

mod deletes;
mod engine_text;
mod engines;
mod forecast;
mod slots;
mod suggest;

#[doc(hidden)]
pub use deletes::fuzz_one;
pub use deletes::{DeleteList, read_deletes};
pub use engines::{Engine, EngineBackup, EngineOutcome, EngineRefusal, Order, RetainMode};
pub use forecast::{ForecastPoint, ForecastStep, forecast};
pub use slots::{RestorePoint, Slot, Tier, missing_slots, promised_until};
pub use suggest::suggest_rules;

use super::Span;

/// The window that is guaranteed at the worst moment, when uploads go on as they did: just before the next full backup
/// is there, the newest full that is old enough may have been gone for a moment, and the oldest usable one is
/// `lifetime - full_every` old. "Expire after 30 days" with weekly fulls guarantees 23 days.
///
/// `base` and `wal` are lifetimes of fresh objects ([`Span::FOREVER`] without an expiration).
pub fn guaranteed_window(base: Span, wal: Span, full_every: Span, backup_duration: Span) -> Span {
    base.min(wal).minus(full_every).minus(backup_duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    /// The numbers of a stepped simulation, without the 0.1 d that its backups took.
    #[test]
    fn the_formula_agrees_with_a_stepped_simulation() {
        let window = |base: &str, wal: &str, every: &str| {
            guaranteed_window(span(base), span(wal), span(every), Span::from_seconds(8640)).seconds().unwrap() / 8640
        };
        assert_eq!(window("30d", "30d", "7d"), 229);
        assert_eq!(window("30d", "14d", "7d"), 69);
        assert_eq!(window("7d", "7d", "7d"), 0);
        assert_eq!(window("30d", "35d", "1d"), 289);
        assert!(guaranteed_window(Span::FOREVER, Span::FOREVER, span("7d"), Span::ZERO).is_forever());
    }
}
