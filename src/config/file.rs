use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::policy::Config;
use crate::policy::config::parse_config;

/// Reads a configuration file.
///
/// # Errors
/// The file cannot be read, or something in it is wrong: every line that is.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
    parse_config(&text).map_err(|errors| {
        let lines: Vec<String> = errors
            .iter()
            .map(|error| {
                let help = error.suggestion.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("{}:{}: {}{help}", path.display(), error.line, error.message)
            })
            .collect();
        ConfigError(lines.join("\n"))
    })
}

/// The configuration that a flag names, else `WALPROOF_CONFIG`, else `walproof.toml` in the working directory, if any.
///
/// # Errors
/// As [`load`]; a file that was named has to exist.
pub fn load_found(flag: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Option<Config>, ConfigError> {
    let named = flag
        .map(Path::to_path_buf)
        .or_else(|| env.get("WALPROOF_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
    match named {
        Some(path) => load(&path).map(Some),
        None => {
            let here = Path::new("walproof.toml");
            if here.is_file() { load(here).map(Some) } else { Ok(None) }
        }
    }
}
