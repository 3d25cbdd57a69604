//! Which relations are looked at, and in what order. Pure: the seed decides.

use super::Check;
use super::relations::Relation;
use crate::policy::Sample;

/// A relation and what is to be done to it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub database: usize,
    pub relation: Relation,
    pub checks: Vec<Check>,
}

impl Item {
    /// What looking at it costs.
    pub fn bytes(&self) -> u64 {
        self.relation.bytes.saturating_add(self.relation.toast_bytes)
    }
}

/// The part of every database that is looked at, in order. A share or an amount takes relations until it is reached, at
/// least one; the slices `1/7` to `7/7` cover everything together, whatever the seed.
pub(super) fn choose(all: Vec<Vec<Item>>, sample: Option<Sample>, seed: u64, names: &[&str]) -> Vec<Vec<Item>> {
    let mut chosen: Vec<Vec<Item>> = all.iter().map(|_| Vec::new()).collect();
    let total: u64 = all.iter().flatten().map(Item::bytes).sum();
    let key = |item: &Item, seed: u64| mix(seed, names.get(item.database).copied().unwrap_or(""), item.relation.oid);
    let mut items: Vec<(u64, Item)> = all.into_iter().flatten().map(|item| (key(&item, seed), item)).collect();
    items.sort_by_key(|(key, item)| (*key, item.database, item.relation.oid));
    let mut taken = 0_u64;
    for (_, item) in items {
        let take = match sample {
            None => true,
            Some(Sample::Slice { number, of }) => key(&item, 0) % u64::from(of.max(1)) == u64::from(number) - 1,
            Some(Sample::Share(share)) => taken == 0 || taken < share.of(total),
            Some(Sample::Bytes(bytes)) => taken == 0 || taken < bytes.0,
        };
        if take {
            // An empty relation must not count as the one that has to be taken.
            taken = taken.saturating_add(item.bytes());
            if let Some(list) = chosen.get_mut(item.database) {
                list.push(item);
            }
        }
    }
    chosen
}

/// The order of the databases.
pub(super) fn order(count: usize, seed: u64, names: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|number| (mix(seed, names.get(*number).copied().unwrap_or(""), 0), *number));
    order
}

/// A number that looks like chance and is always the same: FNV-1a with the finish of SplitMix64.
fn mix(seed: u64, name: &str, oid: u32) -> u64 {
    let bytes = name.bytes().chain([0]).chain(oid.to_le_bytes());
    let hash =
        bytes.fold(0xCBF2_9CE4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let z = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::{ByteSize, Percent};

    fn items() -> Vec<Vec<Item>> {
        let item = |database: usize, oid: u32| Item {
            database,
            relation: Relation { oid, bytes: 100, ..Relation::default() },
            checks: vec![Check::Read],
        };
        (0..2).map(|database| (1..=100).map(|oid| item(database, oid)).collect()).collect()
    }

    fn oids(chosen: &[Vec<Item>]) -> Vec<(usize, u32)> {
        chosen.iter().flatten().map(|item| (item.database, item.relation.oid)).collect()
    }

    const NAMES: &[&str] = &["a", "b"];

    #[test]
    fn seven_slices_cover_everything_once() {
        let mut seen = BTreeSet::new();
        for number in 1..=7 {
            let slice = choose(items(), Some(Sample::Slice { number, of: 7 }), u64::from(number), NAMES);
            let slice = oids(&slice);
            assert!((10..50).contains(&slice.len()), "{}", slice.len());
            for one in slice {
                assert!(seen.insert(one));
            }
        }
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn samples_have_their_size_and_follow_the_seed() {
        let tenth = Some(Sample::Share(Percent::from_millionths(100_000)));
        let one = oids(&choose(items(), tenth, 1, NAMES));
        assert_eq!(one.len(), 20);
        assert_eq!(one, oids(&choose(items(), tenth, 1, NAMES)));
        assert_ne!(one, oids(&choose(items(), tenth, 2, NAMES)));
        assert_eq!(oids(&choose(items(), Some(Sample::Bytes(ByteSize(250))), 1, NAMES)).len(), 3);
        assert_eq!(oids(&choose(items(), Some(Sample::Bytes(ByteSize(0))), 1, NAMES)).len(), 1);
        assert_eq!(oids(&choose(items(), None, 1, NAMES)).len(), 200);
    }
}
