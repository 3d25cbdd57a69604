//! What `pg_restore` and `psql` complain about, and whose fault it is.

/// Complaints that are told.
const TOLD_MAX: usize = 5;
/// Longest complaint that is told.
const TEXT_CHARS_MAX: usize = 300;

/// How far a dump came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is loaded.
    Fine,
    /// The dump is at fault.
    Damaged(String),
    /// Something else is, so nothing is known about the dump.
    NotRun(String),
    /// A limit of the user's.
    Limit(String),
}

/// Expected where roles and tablespaces are left out, and with programs of another minor: nothing is lost.
const HARMLESS: &[&[&str]] = &[
    &["role \"", "does not exist"],
    &["role \"", "already exists"],
    &["tablespace \"", "does not exist"],
    &["default_tablespace"],
    &["schema \"public\" already exists"],
    &["unrecognized configuration parameter"],
];

/// What this machine lacks.
const LACKING: &[&[&str]] = &[
    &["extension \"", "is not available"],
    &["could not open extension control file"],
    &["could not access file \""],
    &["could not load library"],
    &["invalid locale name"],
    &["could not create locale"],
    &["collation \"", "does not exist"],
    &["access method \"", "does not exist"],
    &["No space left on device"],
    &["server closed the connection"],
    &["connection to server"],
];

/// Judges what a program said, and how it ended.
pub(super) fn judge(program: &str, said: &str, success: bool) -> Verdict {
    let (mut lacking, mut errors) = (Vec::new(), Vec::new());
    let mut harmless = 0_u64;
    for line in said.lines() {
        let of_server = line.contains("ERROR: ") || line.contains("FATAL: ");
        let own = line.starts_with(&format!("{program}: error:")) || line.starts_with(&format!("{program}: fatal:"));
        if !of_server && !own {
            continue;
        }
        if is_one_of(line, LACKING) {
            lacking.push(short(line));
        } else if is_one_of(line, HARMLESS) {
            harmless += 1;
        } else {
            errors.push(short(line));
        }
    }
    // Whatever depends on a missing extension fails as well, but not its data files: those are the dump's own.
    let unreadable: Vec<String> = errors.iter().filter(|line| is_unreadable(line)).cloned().collect();
    if !unreadable.is_empty() {
        return Verdict::Damaged(told(program, &unreadable));
    }
    if !lacking.is_empty() {
        return Verdict::NotRun(format!("this machine lacks what the dump needs: {}", told(program, &lacking)));
    }
    if !errors.is_empty() {
        return Verdict::Damaged(told(program, &errors));
    }
    if !success && harmless == 0 {
        let end: String = short(said.trim().lines().last().unwrap_or("it said nothing"));
        return Verdict::NotRun(format!("{program} failed: {end}"));
    }
    Verdict::Fine
}

/// `pg_restore` cannot make sense of the file, rather than the server of a statement.
fn is_unreadable(line: &str) -> bool {
    const WORDS: &[&str] = &[
        "could not uncompress",
        "could not decompress",
        "could not read from input",
        "could not read input",
        "unexpected end of file",
        "end of file",
        "unexpected block ID",
        "unrecognized data block type",
        "input file does not appear to be a valid",
        "invalid compression",
        "corrupt",
    ];
    !line.contains("ERROR: ") && WORDS.iter().any(|words| line.contains(words))
}

fn is_one_of(line: &str, kinds: &[&[&str]]) -> bool {
    kinds.iter().any(|words| words.iter().all(|word| line.contains(word)))
}

fn told(program: &str, lines: &[String]) -> String {
    let mut text = format!("{program}: {} errors: {}", lines.len(), lines[..lines.len().min(TOLD_MAX)].join("; "));
    if lines.len() == 1 {
        text = format!("{program}: {}", lines[0]);
    }
    text
}

/// Without the name of the program, of a file of the sandbox, or control characters.
fn short(line: &str) -> String {
    let start = ["ERROR: ", "FATAL: ", "error: ", "fatal: "].iter().filter_map(|mark| line.find(mark)).max();
    let line = start.map_or(line, |at| &line[at..]);
    let line = line.split_once(": ").map_or(line, |(_, rest)| rest).trim();
    line.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_apart() {
        assert_eq!(judge("pg_restore", "", true), Verdict::Fine);
        let roles = "psql:/x/dump.sql:20: ERROR:  role \"app\" does not exist\n";
        assert_eq!(judge("psql", roles, true), Verdict::Fine);
        let sql = "pg_restore: error: could not execute query: ERROR:  relation \"a\" does not exist\nCommand was: x\n\
                   pg_restore: warning: errors ignored on restore: 1\n";
        assert_eq!(
            judge("pg_restore", sql, false),
            Verdict::Damaged("pg_restore: relation \"a\" does not exist".into())
        );
        let lacking = format!(
            "{sql}pg_restore: error: could not execute query: ERROR:  extension \"postgis\" is not available\n"
        );
        let Verdict::NotRun(why) = judge("pg_restore", &lacking, false) else { panic!() };
        assert!(why.contains("extension \"postgis\" is not available"), "{why}");
        // Bytes that do not decompress are the dump's fault, whatever else is missing.
        let broken = format!("{lacking}pg_restore: error: could not uncompress data: incorrect data check\n");
        let Verdict::Damaged(why) = judge("pg_restore", &broken, false) else { panic!() };
        assert_eq!(why, "pg_restore: could not uncompress data: incorrect data check");
        assert!(matches!(judge("psql", "psql: gone", false), Verdict::NotRun(_)));
    }
}
