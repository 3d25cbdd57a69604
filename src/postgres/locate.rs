use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{PostgresError, Result};

/// A server version as `postgres -V` says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgVersion {
    /// 15 of 15.18; 9 of 9.6.24 (majors before 10 had two numbers).
    pub major: u32,
    /// 18 of 15.18; 0 for a beta or development version.
    pub minor: u32,
    /// As printed: `15.18`, `19devel`.
    pub text: String,
}

impl PgVersion {
    /// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` and its like.
    pub fn parse(output: &str) -> Option<Self> {
        let mut words = output.split_whitespace();
        words.find(|word| word.ends_with("(PostgreSQL)"))?;
        let text = words.next()?;
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let major = text[..digits(text)].parse().ok()?;
        let minor = text[digits(text)..].strip_prefix('.').map_or("", |rest| &rest[..digits(rest)]);
        Some(PgVersion { major, minor: minor.parse().unwrap_or(0), text: text.to_owned() })
    }
}

impl fmt::Display for PgVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How an installation was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The user named it.
    Given,
    /// In a place where packages put it.
    System,
    /// Through the search path.
    Path,
    /// Through `pg_config`.
    PgConfig,
    /// walproof fetched it.
    Downloaded,
}

/// A directory with the programs of one server version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Holds at least `postgres`.
    pub bin: PathBuf,
    /// Of that `postgres`.
    pub version: PgVersion,
    /// How it was found.
    pub origin: Origin,
}

impl Installation {
    /// Looks into a directory and asks its `postgres` for the version.
    ///
    /// # Errors
    /// `NotUsable` if there is no `postgres`, or it does not run.
    pub fn at(bin: &Path, origin: Origin) -> Result<Self> {
        let unusable = |reason: String| PostgresError::NotUsable { path: bin.to_owned(), reason };
        let program = bin.join("postgres");
        if !program.is_file() {
            // The directory above is what people often name.
            return match bin.join("bin") {
                below if below.join("postgres").is_file() => Installation::at(&below, origin),
                _ => Err(unusable("holds no program named postgres".into())),
            };
        }
        let said = ask(&program, "-V").map_err(|e| unusable(format!("postgres does not run: {e}")))?;
        let version = PgVersion::parse(&said)
            .ok_or_else(|| unusable(format!("postgres -V said {:?}", said.chars().take(80).collect::<String>())))?;
        Ok(Installation { bin: bin.to_owned(), version, origin })
    }

    /// Path of one of its programs, whether it exists or not.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Whether it has this program: downloaded installations lack `psql`, `pg_restore` and more.
    pub fn has(&self, name: &str) -> bool {
        self.program(name).is_file()
    }
}

/// Where packages of the common systems put their servers; the last component may be a pattern with one `*`.
const PLACES: &[(&str, &str)] = &[
    ("/usr/lib/postgresql", "bin"),
    ("/usr/lib64/postgresql", "bin"),
    ("/usr/pgsql-*", "bin"),
    ("/usr/lib/postgresql*", "bin"),
    ("/usr/local/pgsql", "bin"),
    ("/opt/homebrew/opt/postgresql*", "bin"),
    ("/usr/local/opt/postgresql*", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
];

/// Every server on this machine: those in `given` first (in their order), then packages, the search path,
/// `pg_config` and what was downloaded earlier. Each program once.
///
/// # Errors
/// `NotUsable` if one in `given` cannot be used; whatever else is broken is passed over.
pub fn installations(given: &[PathBuf]) -> Result<Vec<Installation>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for bin in given {
        let installation = Installation::at(bin, Origin::Given)?;
        if seen.insert(identity_of(&installation.bin)) {
            found.push(installation);
        }
    }
    let mut candidates: Vec<(PathBuf, Origin)> = package_places().map(|bin| (bin, Origin::System)).collect();
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&search_path).filter(|dir| dir.is_absolute()) {
        if let Ok(real) = dir.join("postgres").canonicalize()
            && let Some(bin) = real.parent()
        {
            candidates.push((bin.to_owned(), Origin::Path));
        }
        if dir.join("pg_config").is_file()
            && let Ok(bin) = ask(&dir.join("pg_config"), "--bindir")
        {
            candidates.push((PathBuf::from(bin.trim_end()), Origin::PgConfig));
        }
    }
    #[cfg(feature = "demo")]
    candidates.extend(super::download::cached().into_iter().map(|bin| (bin, Origin::Downloaded)));
    for (bin, origin) in candidates {
        if bin.join("postgres").is_file()
            && seen.insert(identity_of(&bin))
            && let Ok(installation) = Installation::at(&bin, origin)
        {
            found.push(installation);
        }
    }
    Ok(found)
}

/// The best of them: the wanted major with its newest minor (one the user named wins over any other), or the newest
/// of all. Development versions are taken only by name.
///
/// # Errors
/// `NotFound`, with what there was instead.
pub fn choose(among: &[Installation], major: Option<u32>) -> Result<&Installation> {
    let released = |i: &Installation| i.version.text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    among
        .iter()
        .filter(|i| major.map_or(released(i) || i.origin == Origin::Given, |major| i.version.major == major))
        // `max_by_key` keeps the last of equals; reversed, it keeps the first that was found.
        .rev()
        .max_by_key(|i| (i.origin == Origin::Given, i.version.major, i.version.minor))
        .ok_or_else(|| {
            let mut looked = String::from("package directories, PATH and pg_config");
            if !among.is_empty() {
                let there: Vec<String> = among.iter().map(|i| format!("{} ({})", i.version, i.bin.display())).collect();
                looked = format!("{looked}; there is {}", there.join(", "));
            }
            PostgresError::NotFound { major, looked }
        })
}

fn package_places() -> impl Iterator<Item = PathBuf> {
    PLACES.iter().flat_map(|(place, below)| {
        let mut roots = Vec::new();
        if let Some((stem, _)) = place.split_once('*') {
            let stem = Path::new(stem);
            let (parent, start) = (stem.parent().unwrap_or(stem), stem.file_name().unwrap_or(OsStr::new("")));
            roots.extend(entries(parent).filter(|path| {
                let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                name.starts_with(start.as_encoded_bytes())
            }));
        } else {
            roots.push(PathBuf::from(place));
            roots.extend(entries(Path::new(place)));
        }
        roots.sort();
        roots.into_iter().map(move |root| root.join(below)).filter(|bin| bin.join("postgres").is_file())
    })
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().take(1000).map(|entry| entry.path())
}

/// One program may be reached by several paths.
fn identity_of(bin: &Path) -> PathBuf {
    bin.join("postgres").canonicalize().unwrap_or_else(|_| bin.join("postgres"))
}

/// Runs a program that answers at once; its first 4 KiB.
fn ask(program: &Path, argument: &str) -> std::io::Result<String> {
    let output =
        Command::new(program).arg(argument).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(format!("{argument}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout[..output.stdout.len().min(4096)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(text: &str, origin: Origin) -> Installation {
        let version = PgVersion::parse(&format!("postgres (PostgreSQL) {text}")).unwrap();
        Installation { bin: format!("/x/{text}").into(), version, origin }
    }

    #[test]
    fn versions_are_read_as_printed() {
        let version = |s| PgVersion::parse(s).map(|v| (v.major, v.minor, v.text));
        assert_eq!(
            version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some((15, 18, "15.18".to_owned()))
        );
        assert_eq!(version("postgres (PostgreSQL) 19devel"), Some((19, 0, "19devel".to_owned())));
        assert_eq!(version("postgres (PostgreSQL) 18beta1"), Some((18, 0, "18beta1".to_owned())));
        assert_eq!(version("postgres (PostgreSQL) 9.6.24"), Some((9, 6, "9.6.24".to_owned())));
        for bad in ["", "postgres", "15.18", "postgres (PostgreSQL)", "x (PostgreSQL) y", "(PostgreSQL) 99999999999.1"]
        {
            assert_eq!(version(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_named_one_wins_then_the_newest() {
        let all = [
            made_up("15.2", Origin::System),
            made_up("15.18", Origin::Path),
            made_up("17.1", Origin::System),
            made_up("19devel", Origin::System),
        ];
        let pick = |among: &[Installation], major| choose(among, major).map(|i| i.version.text.clone());
        assert_eq!(pick(&all, Some(15)).unwrap(), "15.18");
        assert_eq!(pick(&all, None).unwrap(), "17.1");
        assert_eq!(pick(&all, Some(19)).unwrap(), "19devel");
        let named = [made_up("15.1", Origin::Given), made_up("15.18", Origin::System)];
        assert_eq!(pick(&named, Some(15)).unwrap(), "15.1");
        let message = pick(&all, Some(14)).unwrap_err().to_string();
        assert!(message.contains("no PostgreSQL 14 found") && message.contains("17.1 (/x/17.1)"), "{message}");
    }

    #[test]
    fn a_directory_without_a_server_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = installations(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(message.contains("holds no program named postgres"), "{message}");
    }
}
