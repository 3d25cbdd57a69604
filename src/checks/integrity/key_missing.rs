//! Objects are encrypted and no key was given.
//!
//! **Fires** once, with the number of objects that `verify` could not open for want of a key. All that needs no key is still
//! checked.
//!
//! **Near miss.** Objects in an archive class, or refused by a key service, are not read either: that is said beside the
//! rules that did not run.
//!
//! **Why it matters.** Their content was not verified. A key that nobody has any more is the end of a backup: this is also
//! the moment to find out that the key at hand is the right one.
//!
//! **What to do.** Give the key in wal-g's own settings: `WALG_LIBSODIUM_KEY` or `_PATH`, `WALG_PGP_KEY` or `_PATH`, in the
//! environment or in the file of `--walg-config`.

use crate::catalog::evidence::UnreadReason;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("INT014", "key-missing", Warning, "key_missing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let content = cx.content()?;
    let missing = content.unread.iter().filter(|unread| unread.reason == UnreadReason::KeyMissing);
    let (mut count, mut bytes, mut keys, mut why) = (0, 0, Vec::new(), None);
    for unread in missing {
        count += unread.count;
        bytes += unread.bytes;
        keys.extend(unread.sample.iter());
        why.get_or_insert(unread.why.as_str());
    }
    let (Some(first), Some(why)) = (keys.first(), why) else { return Ok(()) };
    let objects = if count == 1 { "1 object is".to_owned() } else { format!("{count} objects are") };
    out.push(
        Finding::new(
            &RULE,
            "encryption".to_owned(),
            format!("{objects} encrypted and no key opens them: their content was not verified (first {first}: {why})"),
        )
        .count(count)
        .encoded(keys.iter().any(|key| key.is_encoded()))
        .objects(keys.iter())
        .fact("bytes", bytes)
        .advise(
            "give the key in wal-g's own settings: WALG_LIBSODIUM_KEY or WALG_PGP_KEY_PATH (or --walg-config FILE)",
        ),
    );
    Ok(())
}
