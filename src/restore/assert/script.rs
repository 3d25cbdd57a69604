//! A file of SQL, cut into its statements as `psql` would.

/// A statement and the line it begins on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub line: usize,
    pub sql: String,
}

/// Cuts a file at its semicolons: not those in quotes, comments, dollar quotes, parentheses or the bodies of SQL functions.
///
/// # Errors
/// What a server could not run, with its line: commands of `psql`, something that is never closed.
pub(super) fn split(text: &str) -> Result<Vec<Statement>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let bytes = text.as_bytes();
    let mut cut = Cut::default();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let length = match bytes[at] {
            b'\n' => {
                cut.line += 1;
                1
            }
            b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => {
                let length = block_comment(rest).ok_or_else(|| cut.open("comment"))?;
                cut.line += newlines(&rest[..length]);
                length
            }
            b'\'' | b'"' => {
                cut.begin(at);
                let escapes = bytes[at] == b'\'' && cut.word.eq_ignore_ascii_case("e");
                let length = quoted(rest, escapes).ok_or_else(|| cut.open("quote"))?;
                cut.end_word();
                cut.line += newlines(&rest[..length]);
                length
            }
            b'$' if cut.word.is_empty() && dollar_tag(rest).is_some() => {
                cut.begin(at);
                let tag = dollar_tag(rest).unwrap_or_default();
                let body = rest[tag.len()..].find(tag).ok_or_else(|| cut.open("dollar quote"))?;
                let length = body + 2 * tag.len();
                cut.line += newlines(&rest[..length]);
                length
            }
            b'\\' if cut.word.is_empty() => {
                let word: String = rest.chars().take_while(|c| !c.is_whitespace()).take(20).collect();
                return Err(format!("line {}: {word} is a command of psql, not SQL", cut.line + 1));
            }
            b';' => {
                cut.end_word();
                if cut.parentheses == 0 && cut.bodies == 0 {
                    cut.finish(text, at);
                }
                1
            }
            byte if byte.is_ascii_whitespace() => {
                cut.end_word();
                1
            }
            _ => {
                cut.begin(at);
                let c = rest.chars().next().unwrap_or_default();
                cut.letter(c);
                c.len_utf8()
            }
        };
        at += length;
    }
    cut.end_word();
    cut.finish(text, text.len());
    Ok(cut.statements)
}

#[derive(Default)]
struct Cut {
    statements: Vec<Statement>,
    /// Lines behind us.
    line: usize,
    /// Where the statement in hand begins, and its line.
    begun: Option<(usize, usize)>,
    parentheses: u32,
    /// `BEGIN ATOMIC`, and `CASE` within it, not ended yet.
    bodies: u32,
    /// The word in hand, and the one before it.
    word: String,
    before: String,
    /// Whether the statement defines a function: only there is BEGIN ATOMIC a body.
    creates: bool,
}

impl Cut {
    fn begin(&mut self, at: usize) {
        self.begun.get_or_insert((at, self.line));
    }

    fn letter(&mut self, c: char) {
        if c.is_alphanumeric() || c == '_' || (c == '$' && !self.word.is_empty()) {
            // Only short words mean anything here.
            if self.word.len() < 64 {
                self.word.push(c);
            }
            return;
        }
        self.end_word();
        match c {
            '(' => self.parentheses += 1,
            ')' => self.parentheses = self.parentheses.saturating_sub(1),
            _ => {}
        }
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word).to_ascii_lowercase();
        match word.as_str() {
            "function" | "procedure" if self.before == "create" || self.before == "replace" => self.creates = true,
            "atomic" if self.creates && self.before == "begin" => self.bodies += 1,
            "case" if self.bodies > 0 => self.bodies += 1,
            "end" if self.bodies > 0 => self.bodies -= 1,
            _ => {}
        }
        self.before = word;
    }

    fn open(&self, what: &str) -> String {
        format!("line {}: a {what} begins here and never ends", self.line + 1)
    }

    fn finish(&mut self, text: &str, at: usize) {
        if let Some((start, line)) = self.begun.take() {
            self.statements.push(Statement { line: line + 1, sql: text[start..at].trim_end().to_owned() });
        }
        (self.parentheses, self.bodies, self.creates) = (0, 0, false);
        self.before.clear();
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Comments nest in PostgreSQL.
fn block_comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_u32, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// A doubled quote ends and begins again, which comes to the same.
fn quoted(text: &str, escapes: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            byte if byte == bytes[0] => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// `$$` or `$tag$`.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let name = &text[1..end - 1];
    let starts_well = !name.starts_with(|c: char| c.is_ascii_digit());
    (starts_well && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(&text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Vec<(usize, String)> {
        split(text).unwrap().into_iter().map(|statement| (statement.line, statement.sql)).collect()
    }

    #[test]
    fn statements_end_at_semicolons_and_nowhere_else() {
        let text = "-- a; comment\nselect 1;\n\nselect 'a;''b', \"c;\", E'it\\'s;' /* x /* ; */ */ ;;\n\
                    do $$ begin perform 1; end $$;\ndo $b1$ select $$;$$; $b1$;\nselect (1;2);\nselect a$b$, 2 from t";
        assert_eq!(
            parts(text),
            [
                (2, "select 1".to_owned()),
                (4, "select 'a;''b', \"c;\", E'it\\'s;' /* x /* ; */ */".to_owned()),
                (5, "do $$ begin perform 1; end $$".to_owned()),
                (6, "do $b1$ select $$;$$; $b1$".to_owned()),
                (7, "select (1;2)".to_owned()),
                (8, "select a$b$, 2 from t".to_owned()),
            ]
        );
        assert_eq!(parts("  \n-- nothing\n"), []);
        assert_eq!(parts("begin; select 1; end").len(), 3);
    }

    #[test]
    fn bodies_of_sql_functions_are_whole() {
        let text = "create or replace function f() returns int begin atomic select case when true then 1 end; \
                    select 2; end;\nselect f()";
        let got = parts(text);
        assert_eq!(got.len(), 2, "{got:?}");
        assert_eq!(got[1], (2, "select f()".to_owned()));
    }

    #[test]
    fn what_no_server_understands_is_named() {
        assert_eq!(split("select 1;\n\\echo hi").unwrap_err(), "line 2: \\echo is a command of psql, not SQL");
        assert_eq!(split("select 1;\nselect 'x").unwrap_err(), "line 2: a quote begins here and never ends");
        assert_eq!(split("/* /* */").unwrap_err(), "line 1: a comment begins here and never ends");
        assert_eq!(split("do $a$ x $b$").unwrap_err(), "line 1: a dollar quote begins here and never ends");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_or_refused(text in "[-a-z'\"$;/*()\\\\\né\u{feff} ]{0,60}") {
            if let Ok(statements) = split(&text) {
                for statement in statements {
                    prop_assert!(text.contains(&statement.sql));
                    prop_assert!(statement.line <= newlines(&text) + 1);
                }
            }
        }
    }
}
