//! What the log of a recovering server says about where replay is and how it ended.

use crate::model::{Lsn, Timestamp};

/// Complaints that are kept.
const COMPLAINTS_MAX: usize = 8;

/// Read off a server's log so far. Only lines up to the end of recovery count: later ones may be anybody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryLog {
    /// Where the first record was replayed.
    pub redo_starts: Option<Lsn>,
    /// Where the data became consistent.
    pub consistent: Option<Lsn>,
    /// Start of the last record that was replayed.
    pub redo_done: Option<Lsn>,
    /// The last commit or abort that was replayed.
    pub last_transaction: Option<Timestamp>,
    /// The server found its target.
    pub stopped_at_target: bool,
    /// It serves queries.
    pub ready: bool,
    /// What it said about WAL it could not use, before replay ended.
    pub complaints: Vec<String>,
    /// Its last words, if it gave up.
    pub fatal: Option<String>,
}

impl RecoveryLog {
    /// Takes a line into account.
    pub fn line(&mut self, line: &str) {
        if self.ready {
            return;
        }
        let Some((level, text)) = line.split_once(":  ") else { return };
        match level {
            "LOG" => self.log(text),
            // The postmaster's own last line says less than the one before.
            "FATAL" | "PANIC" if self.fatal.is_none() => self.fatal = Some(text.trim().chars().take(500).collect()),
            "HINT" | "DETAIL" => {
                if let Some(fatal) = &mut self.fatal
                    && fatal.len() < 1000
                {
                    fatal.push_str("; ");
                    fatal.extend(text.trim().chars().take(300));
                }
            }
            _ => {}
        }
    }

    fn log(&mut self, text: &str) {
        let after = |start: &str| text.strip_prefix(start).map(str::trim);
        let lsn = |rest: &str| rest.split([' ', ',']).next().and_then(|word| word.parse::<Lsn>().ok());
        if let Some(rest) = after("redo starts at ") {
            self.redo_starts = lsn(rest);
        } else if let Some(rest) = after("consistent recovery state reached at ") {
            self.consistent = lsn(rest);
        } else if let Some(rest) = after("redo done at ") {
            self.redo_done = lsn(rest);
        } else if let Some(rest) = after("last completed transaction was at log time ") {
            self.last_transaction = pg_time(rest);
        } else if text.starts_with("recovery stopping ") {
            self.stopped_at_target = true;
        } else if text.starts_with("database system is ready to accept connections") {
            self.ready = true;
        } else if self.redo_done.is_none() && is_about_wal(text) {
            if self.complaints.len() == COMPLAINTS_MAX {
                self.complaints.remove(0);
            }
            self.complaints.push(text.chars().take(300).collect());
        }
    }
}

/// What PostgreSQL says of WAL that it takes for the end.
fn is_about_wal(text: &str) -> bool {
    const WORDS: [&str; 18] = [
        "invalid record length",
        "invalid record offset",
        "record length",
        "incorrect resource manager data checksum",
        "unexpected pageaddr",
        "unexpected timeline ID",
        "out-of-sequence timeline ID",
        "invalid magic number",
        "invalid info bits",
        "invalid resource manager ID",
        "invalid contrecord",
        "there is no contrecord flag",
        "record with incorrect prev-link",
        "record with invalid",
        "WAL file is from different database system",
        "contrecord",
        "invalid checkpoint",
        "missing contrecord",
    ];
    WORDS.iter().any(|word| text.contains(word))
}

/// `2026-11-20 23:13:09.419471+00`
pub(super) fn pg_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (moment, _) = text.split_at(text.rfind('+')?);
    format!("{}Z", moment.trim().replacen(' ', "T", 1)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_is_read_with_its_reason() {
        let mut log = RecoveryLog::default();
        for line in [
            "LOG:  starting archive recovery",
            "LOG:  restored log file \"000000010000000000000012\" from archive",
            "LOG:  redo starts at 0/3000028",
            "LOG:  consistent recovery state reached at 0/3000120",
            "LOG:  incorrect resource manager data checksum in record at 0/1200F0C0",
            "LOG:  redo done at 0/1200F088 system usage: CPU: user: 0.01 s, system: 0.00 s, elapsed: 0.10 s",
            "LOG:  last completed transaction was at log time 2026-11-20 23:13:09.419471+00",
            "LOG:  invalid record length at 0/13000000: wanted 24, got 0",
            "LOG:  selected new timeline ID: 2",
            "LOG:  database system is ready to accept connections",
            "FATAL:  terminating connection due to administrator command",
        ] {
            log.line(line);
        }
        assert_eq!(log.redo_done, Some(Lsn(0x1200_F088)));
        assert_eq!(log.complaints, ["incorrect resource manager data checksum in record at 0/1200F0C0"]);
        assert_eq!(log.last_transaction.unwrap().to_string(), "2026-11-20T23:13:09.419471Z");
        assert!(log.ready && !log.stopped_at_target && log.fatal.is_none());
    }

    #[test]
    fn the_first_last_words_count() {
        let mut log = RecoveryLog::default();
        log.line("FATAL:  recovery ended before configured recovery target was reached");
        log.line("HINT:  something");
        log.line("FATAL:  the database system is shutting down");
        let fatal = log.fatal.unwrap();
        assert_eq!(fatal, "recovery ended before configured recovery target was reached; something");
    }

    #[test]
    fn any_line_is_accepted() {
        let mut log = RecoveryLog::default();
        for line in [
            "",
            ":  ",
            "LOG:  redo done at",
            "LOG:  redo done at x/y",
            "LOG:  last completed transaction was at log time +",
        ] {
            log.line(line);
        }
        assert_eq!(log.redo_done, None);
    }
}
