//! The key space as numbers, where its keys hold WAL names, and as bytes elsewhere.

/// Digits of a segment's name.
const NAME_DIGITS: usize = 24;
/// Digits of the folder that barman and pgBackRest put segments in: the first of the name.
const FOLDER_DIGITS: usize = 16;
/// Segments that share the middle digits, for 16 MiB segments; a guess until more is known.
pub(super) const PER_LOG_GUESS: u64 = 256;
/// The most there can be, with segments of 1 MiB.
const PER_LOG_MAX: u64 = 4096;

/// A key taken apart around the first WAL name in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbered<'a> {
    /// What comes before the name, without the folder named after it.
    head: &'a [u8],
    /// There is such a folder.
    nested: bool,
    timeline: u32,
    log: u32,
    seg: u32,
    /// What comes behind the name.
    tail: &'a [u8],
}

impl<'a> Numbered<'a> {
    /// Finds the first 24 upper-case hexadecimal digits.
    pub(super) fn parse(key: &'a [u8]) -> Option<Self> {
        let mut run = 0;
        let end = 1 + key.iter().position(|byte| {
            run = if matches!(byte, b'0'..=b'9' | b'A'..=b'F') { run + 1 } else { 0 };
            run == NAME_DIGITS
        })?;
        let (head, name) = (&key[..end - NAME_DIGITS], &key[end - NAME_DIGITS..end]);
        let folder = head.strip_suffix(b"/").and_then(|path| path.strip_suffix(&name[..FOLDER_DIGITS]));
        Some(Numbered {
            head: folder.unwrap_or(head),
            nested: folder.is_some(),
            timeline: hex8(&name[..8])?,
            log: hex8(&name[8..16])?,
            seg: hex8(&name[16..])?,
            tail: &key[end..],
        })
    }

    /// Whether both are names on the same timeline in the same place.
    pub(super) fn same_run(&self, other: &Numbered<'_>) -> bool {
        (self.head, self.nested, self.timeline) == (other.head, other.nested, other.timeline)
    }

    /// What all keys of the same run begin with.
    pub(super) fn run_prefix(&self) -> Vec<u8> {
        [self.head, format!("{:08X}", self.timeline).as_bytes()].concat()
    }

    /// Its number in the run, in the order of names.
    pub(super) fn position(&self, per_log: u64) -> u64 {
        u64::from(self.log) * per_log + u64::from(self.seg).min(per_log - 1)
    }

    /// The key of another number in the run, if all else is alike. `None` behind the last one.
    pub(super) fn key_at(&self, position: u64, per_log: u64) -> Option<Vec<u8>> {
        let log = u32::try_from(position / per_log).ok()?;
        let folder = format!("{:08X}{log:08X}", self.timeline);
        let name = format!("{folder}{:08X}", position % per_log);
        let slash: &[&[u8]] = if self.nested { &[folder.as_bytes(), b"/"] } else { &[] };
        Some([self.head, &slash.concat(), name.as_bytes(), self.tail].concat())
    }

    /// Middle and last digits.
    pub(super) fn log_and_seg(&self) -> (u32, u32) {
        (self.log, self.seg)
    }
}

fn hex8(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What a page shows about the number of segments that share their middle digits.
pub(super) fn learn_per_log<'a>(keys: impl Iterator<Item = &'a [u8]>, guess: u64) -> u64 {
    let (mut seg_max, mut logs) = (None, Vec::new());
    for numbered in keys.filter_map(Numbered::parse) {
        let (log, seg) = numbered.log_and_seg();
        seg_max = seg_max.max(Some(seg));
        if logs.last() != Some(&log) {
            logs.push(log);
        }
    }
    let Some(seen) = seg_max.map(|seg| (u64::from(seg) + 1).next_power_of_two().min(PER_LOG_MAX)) else { return guess };
    // With three sets of middle digits, the one between was seen from end to end.
    if logs.len() >= 3 { seen } else { seen.max(guess) }
}

/// Some text between two keys, about half way by their first different byte: greater than `low`, less than `high` (no
/// bound without one). `None` if there is nothing sensible in between.
pub(super) fn between(prefix: &[u8], low: &[u8], high: Option<&[u8]>) -> Option<Vec<u8>> {
    let common = match high {
        Some(high) => low.iter().zip(high).take_while(|(a, b)| a == b).count(),
        None => prefix.len(),
    };
    let mut bound = high.and_then(|high| high.get(common).copied());
    // A few bytes further there is room for sure, or the keys are of no kind that this can help with.
    for at in common..common + 8 {
        let from = *low.get(at)?;
        let to = bound.map_or(class_end(low, at), |bound| bound.min(0x7F));
        let middle = from / 2 + to / 2 + (from & to & 1);
        if (b' '..0x7F).contains(&middle) && middle > from && middle < to {
            let key = [&low[..at], &[middle]].concat();
            return std::str::from_utf8(&key).is_ok().then_some(key);
        }
        bound = None;
    }
    None
}

/// The byte behind the class of characters that the name around here is made of.
fn class_end(key: &[u8], at: usize) -> u8 {
    let begin = key[..at].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = key[begin..].split(|byte| matches!(byte, b'/' | b'.')).next().unwrap_or_default();
    let all = |is: fn(&u8) -> bool| name.iter().all(is);
    match key.get(at) {
        Some(b'0'..=b'9' | b'a'..=b'f')
            if !all(u8::is_ascii_digit) && all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) =>
        {
            b'g'
        }
        Some(b'0'..=b'9' | b'A'..=b'F')
            if !all(u8::is_ascii_digit) && all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')) =>
        {
            b'G'
        }
        Some(b'0'..=b'9') => b'9' + 1,
        Some(b'A'..=b'Z') => b'Z' + 1,
        Some(b'a'..=b'z') => b'z' + 1,
        _ => 0x7F,
    }
}

/// A key some way ahead, by the character before the first one in which `first` and `key` differ: it counts up more
/// slowly than pages go by.
pub(super) fn ahead(prefix: &[u8], first: &[u8], key: &[u8], high: Option<&[u8]>) -> Option<Vec<u8>> {
    let common = first.iter().zip(key).take_while(|(a, b)| a == b).count();
    (prefix.len()..common).rev().find_map(|at| {
        let (from, to) = (key[at], class_end(key, at));
        let middle = from / 2 + to / 2 + (from & to & 1);
        let is_name = from.is_ascii_alphanumeric() && middle > from && middle < to;
        let cut = [&key[..at], &[middle]].concat();
        (is_name && high.is_none_or(|high| cut.as_slice() < high)).then_some(cut)
    })
}

/// The end of the innermost folder around `key` that is inside `prefix`, ends before `high` and is larger than a page:
/// one that holds all from `first` to `key`. Whatever comes next is then behind it: a cut that wastes nothing.
pub(super) fn behind_folder(prefix: &[u8], first: &[u8], key: &[u8], high: Option<&[u8]>) -> Option<Vec<u8>> {
    let common = first.iter().zip(key).take_while(|(a, b)| a == b).count();
    let slashes = (prefix.len()..common).rev().filter(|at| key[*at] == b'/');
    // `0` is the character behind `/`: all keys of the folder are smaller.
    slashes.map(|at| [&key[..at], b"0"].concat()).find(|end| high.is_none_or(|high| end.as_slice() < high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_found_wherever_archives_keep_them() {
        let at = |key: &str| {
            let numbered = Numbered::parse(key.as_bytes())?;
            let next = numbered.key_at(numbered.position(256) + 1, 256)?;
            Some((numbered.nested, String::from_utf8(next).unwrap()))
        };
        let some = |nested, key: &str| Some((nested, key.to_owned()));
        assert_eq!(at("wal_005/0000000100000000000000FF.lz4"), some(false, "wal_005/000000010000000100000000.lz4"));
        assert_eq!(
            at("s/wals/00000001000000AB/00000001000000AB000000FF.gz"),
            some(true, "s/wals/00000001000000AC/00000001000000AC00000000.gz")
        );
        assert_eq!(
            at("b/base_000000010000000000000002_D_000000010000000000000001/x"),
            some(false, "b/base_000000010000000000000003_D_000000010000000000000001/x")
        );
        assert_eq!(at("wal_005/00000002.history"), None);
        assert_eq!(at("0000000100000000000000FFAB"), some(false, "000000010000000100000000AB"));
        assert_eq!(at("00000001FFFFFFFF000000FF"), None);
    }

    #[test]
    fn segment_size_shows_in_a_page() {
        let keys = |per_log: u32, count: u32| -> Vec<String> {
            (0..count).map(|n| format!("w/00000001{:08X}{:08X}", n / per_log, n % per_log)).collect()
        };
        let learn = |keys: Vec<String>, guess| learn_per_log(keys.iter().map(String::as_bytes), guess);
        assert_eq!(learn(keys(256, 1000), 256), 256);
        assert_eq!(learn(keys(64, 1000), 256), 64);
        assert_eq!(learn(keys(4096, 1000), 256), 1024);
        assert_eq!(learn(keys(256, 100), 256), 256);
        assert_eq!(learn(vec!["x".into()], 256), 256);
    }

    #[test]
    fn between_keys_by_bytes() {
        let between = |low: &str, high: Option<&str>| {
            super::between(b"p/", low.as_bytes(), high.map(str::as_bytes)).map(|key| String::from_utf8(key).unwrap())
        };
        assert_eq!(between("p/base", None).as_deref(), Some("p/n"));
        assert_eq!(between("p/part_1", Some("p/part_9")).as_deref(), Some("p/part_5"));
        assert_eq!(between("p/part_12", Some("p/part_2")).as_deref(), Some("p/part_16"));
        assert_eq!(between("p/3f", Some("p/f0")).as_deref(), Some("p/L"));
        assert_eq!(between("p/3f", None).as_deref(), Some("p/M"));
        assert_eq!(between("p/a", Some("p/a")), None);
    }

    #[test]
    fn folders_of_a_page_or_more_are_passed() {
        let behind = |first: &str, key: &str, high: Option<&str>| {
            let end = behind_folder(b"p/", first.as_bytes(), key.as_bytes(), high.map(str::as_bytes));
            end.map(|end| String::from_utf8(end).unwrap())
        };
        assert_eq!(behind("p/a/b/1", "p/a/b/2", None).as_deref(), Some("p/a/b0"));
        assert_eq!(behind("p/a/b/1", "p/a/c/2", None).as_deref(), Some("p/a0"));
        assert_eq!(behind("p/a/b/1", "p/a/b/2", Some("p/a/b0")), None);
        assert_eq!(behind("p/a/b/1", "p/a/c/2", Some("p/a0")), None);
        assert_eq!(behind("p/1", "p/2", None), None);
        let ahead = |first: &str, key: &str| {
            let end = ahead(b"p/", first.as_bytes(), key.as_bytes(), None);
            end.map(|end| String::from_utf8(end).unwrap())
        };
        assert_eq!(ahead("p/base/20261101T02/7", "p/base/20261103T02/1").as_deref(), Some("p/base/2026115"));
        assert_eq!(ahead("p/99/1", "p/99/2"), None);
    }

    proptest! {
        #[test]
        fn between_is_between(low in proptest::collection::vec(any::<u8>(), 0..12), high in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12))) {
            let low = [&b"p/"[..], &low].concat();
            let high = high.map(|high| [&b"p/"[..], &high].concat()).filter(|high| *high > low);
            for key in [between(b"p/", &low, high.as_deref()), behind_folder(b"p/", &low, &low, high.as_deref()), ahead(b"p/", &low, &low, high.as_deref())].into_iter().flatten() {
                prop_assert!(key > low && high.as_ref().is_none_or(|high| key < *high));
            }
        }

        #[test]
        fn positions_are_in_key_order(a in any::<(u32, u32)>(), b in any::<(u32, u32)>(), bit in 0u32..13) {
            let per_log = 1u64 << bit;
            let key = |(log, seg): (u32, u32)| format!("w/00000007{log:08X}{:08X}.zst", u64::from(seg) % per_log).into_bytes();
            let (a, b) = (key(a), key(b));
            let (left, right) = (Numbered::parse(&a).unwrap(), Numbered::parse(&b).unwrap());
            prop_assert_eq!(a.cmp(&b), left.position(per_log).cmp(&right.position(per_log)));
            prop_assert_eq!(left.key_at(right.position(per_log), per_log), Some(b.clone()));
        }
    }
}
