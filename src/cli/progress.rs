use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::{Progress, ProgressUnit};

/// One bar on stderr that leaves no trace.
#[derive(Default)]
pub(super) struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        if let Ok(guard) = self.bar.lock()
            && let Some(bar) = &*guard
        {
            act(bar);
        }
    }
}

impl Progress for Bars {
    fn step(&self, name: &str, unit: ProgressUnit, total: Option<u64>) {
        self.finish();
        let template = match (unit, total) {
            (ProgressUnit::Bytes, Some(_)) => {
                "{spinner} {prefix}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}"
            }
            (ProgressUnit::Bytes, None) => "{spinner} {prefix}  {bytes}  {bytes_per_sec}  {msg}",
            (ProgressUnit::Things, Some(_)) => "{spinner} {prefix}  {human_pos}/{human_len}  {msg}",
            (ProgressUnit::Things, None) => "{spinner} {prefix}  {human_pos}  {per_sec}  {msg}",
        };
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        if let Ok(mut guard) = self.bar.lock() {
            *guard = Some(bar);
        }
    }

    fn advance(&self, amount: u64) {
        self.with(|bar| bar.inc(amount));
    }

    fn note(&self, text: &str) {
        self.with(|bar| bar.set_message(crate::report::clean(text)));
    }

    fn finish(&self) {
        if let Ok(mut guard) = self.bar.lock()
            && let Some(bar) = guard.take()
        {
            bar.finish_and_clear();
        }
    }
}
