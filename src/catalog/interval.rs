/// A set of whole numbers as sorted, disjoint, half-open intervals. A hole of five million costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntervalSet(Vec<(u64, u64)>);

impl IntervalSet {
    /// The empty set.
    pub const fn new() -> Self {
        IntervalSet(Vec::new())
    }

    /// Adds `[start, end)`. Cheapest when called in ascending order.
    pub fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        if let Some(last) = self.0.last_mut()
            && start >= last.0
        {
            if start <= last.1 {
                last.1 = last.1.max(end);
            } else {
                self.0.push((start, end));
            }
            return;
        }
        let from = self.0.partition_point(|range| range.1 < start);
        let to = self.0.partition_point(|range| range.0 <= end);
        let merged = self.0[from..to].iter().fold((start, end), |sum, range| (sum.0.min(range.0), sum.1.max(range.1)));
        self.0.splice(from..to, [merged]);
    }

    /// Takes one number out.
    pub fn remove(&mut self, number: u64) {
        let at = self.0.partition_point(|range| range.1 <= number);
        let Some(range) = self.0.get(at).copied().filter(|range| range.0 <= number) else { return };
        let parts = [(range.0, number), (number + 1, range.1)];
        self.0.splice(at..=at, parts.into_iter().filter(|part| part.0 < part.1));
    }

    /// The intervals, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Number of intervals.
    pub fn intervals(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are inside.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.1 - range.0).sum()
    }

    /// The interval that holds `number`.
    pub fn around(&self, number: u64) -> Option<(u64, u64)> {
        let at = self.0.partition_point(|range| range.1 <= number);
        self.0.get(at).copied().filter(|range| range.0 <= number)
    }

    /// Whether `number` is inside.
    pub fn contains(&self, number: u64) -> bool {
        self.around(number).is_some()
    }

    /// The smallest number inside.
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|range| range.0)
    }

    /// The largest number inside.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|range| range.1 - 1)
    }

    /// The largest number inside that is smaller than `bound`.
    pub fn last_below(&self, bound: u64) -> Option<u64> {
        let at = self.0.partition_point(|range| range.0 < bound);
        self.0[..at].last().map(|range| range.1.min(bound) - 1)
    }

    /// The smallest number inside that is not smaller than `bound`.
    pub fn first_at_or_above(&self, bound: u64) -> Option<u64> {
        let at = self.0.partition_point(|range| range.1 <= bound);
        self.0.get(at).map(|range| range.0.max(bound))
    }

    /// What of `[start, end)` is not inside.
    pub fn missing_in(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut at = start;
        let from = self.0.partition_point(|range| range.1 <= start);
        for range in &self.0[from..] {
            if range.0 >= end {
                break;
            }
            if range.0 > at {
                holes.push((at, range.0));
            }
            at = range.1;
        }
        if at < end {
            holes.push((at, end));
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set(inserts in proptest::collection::vec((0u64..60, 0u64..12), 0..20), gone in 0u64..80, from in 0u64..60, len in 0u64..30, bound in 0u64..80) {
            let mut set = IntervalSet::default();
            let mut model = BTreeSet::new();
            for (start, count) in inserts {
                set.insert(start, start + count);
                model.extend(start..start + count);
            }
            set.remove(gone);
            model.remove(&gone);
            prop_assert_eq!(set.count(), model.len() as u64);
            prop_assert_eq!(set.first(), model.first().copied());
            prop_assert_eq!(set.last(), model.last().copied());
            prop_assert_eq!(set.last_below(bound), model.range(..bound).next_back().copied());
            prop_assert_eq!(set.first_at_or_above(bound), model.range(bound..).next().copied());
            prop_assert_eq!(set.contains(bound), model.contains(&bound));
            let holes: BTreeSet<u64> = set.missing_in(from, from + len).into_iter().flat_map(|(a, b)| a..b).collect();
            let expected: BTreeSet<u64> = (from..from + len).filter(|n| !model.contains(n)).collect();
            prop_assert_eq!(holes, expected);
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|w| w[0].1 < w[1].0));
        }
    }
}
