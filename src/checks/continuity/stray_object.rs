//! Objects in the archive belong to no known kind.
//!
//! **Fires** once for an archive that holds keys which its layout does not explain: left-over temporaries, files copied
//! in by hand, another tool's objects.
//!
//! **Why it matters.** They cost storage, and the tool's own deletion never removes them.
//!
//! **What to do.** Look at the named ones and remove what is not needed.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("WAL008", "stray-object", Info, "stray_object.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let strays = &cx.archive.strays;
    let Some(first) = strays.sample.first() else { return Ok(()) };
    let message = if strays.count == 1 {
        format!("{first} belongs to no known kind of object")
    } else {
        format!("{} objects belong to no known kind, e.g. {first}", strays.count)
    };
    out.push(
        Finding::new(&RULE, first.to_string(), message)
            .count(strays.count)
            .objects(&strays.sample)
            .encoded(strays.sample.iter().any(|key| key.is_encoded()))
            .fact("bytes", strays.bytes)
            .advise("look at them and remove what is not needed"),
    );
    Ok(())
}
