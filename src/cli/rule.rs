use super::Outcome;
use super::args::RuleArgs;
use crate::checks;

/// `walproof rule`
pub(super) fn run(args: &RuleArgs) -> anyhow::Result<Outcome> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match &args.code {
        Some(code) => {
            let Some(rule) = checks::rule(code) else {
                anyhow::bail!("{code}: there is no such rule; `walproof rule` lists them");
            };
            writeln!(out, "{} {} ({})\n\n{}", rule.code, rule.name, rule.severity.name(), rule.manual())?;
        }
        None => {
            for rule in checks::all() {
                let manual = rule.manual();
                let first = manual.lines().next().unwrap_or_default();
                writeln!(out, "{}  {:<26} {:<9} {first}", rule.code, rule.name, rule.severity.name())?;
            }
        }
    }
    Ok(Outcome::Clean)
}
