//! Repeatable damage to bytes: what bit rot, cut uploads and hostile writers do.

/// Repeatable random numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ value >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % (limit.max(1) as u64)) as usize
    }
}

/// Inputs grow no further than this.
pub const BYTES_MAX: usize = 256 << 10;

const NUMBERS: [u64; 12] =
    [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 33, i64::MAX as u64, u64::MAX - 7, u64::MAX];

const WORDS: [&[u8]; 16] = [
    b"18446744073709551615",
    b"-9223372036854775808",
    b"1e308",
    b"-1",
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"\\u0000",
    b"../../..",
    b"\xFF\xFE",
    b"\xF0\x9F\x98\x80",
    b"9999-12-31T23:59:59.999999999Z",
    b"000000FFFFFFFFFFFFFFFFFF",
    b"FFFFFFFF/FFFFFFFF",
    b"\n",
];

/// Changes one of the seeds in one to six places, or joins two of them.
pub fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        change(random, &mut bytes, seeds);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let length = bytes.len();
    // Heads hold lengths and counts: half of all changes go there.
    let reach = if random.below(2) == 0 { length.min(512) } else { length };
    let at = random.below(reach + 1).min(length);
    let longest = [4, 16, 600, 9000][random.below(4)];
    let piece = 1 + random.below(longest);
    let end = (at + piece).min(length);
    match random.below(13) {
        0 | 1 if at < length => bytes[at] ^= 1 << random.below(8),
        2 if at < length => bytes[at] = random.next() as u8,
        3 | 4 => {
            let width = 1 << random.below(4);
            let number = NUMBERS[random.below(NUMBERS.len())];
            let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
            let number = if random.below(3) == 0 { &big[8 - width..] } else { &little[..width] };
            // Fields are aligned more often than not.
            let at = if random.below(2) == 0 { at / width * width } else { at };
            for (to, from) in bytes.iter_mut().skip(at).zip(number) {
                *to = *from;
            }
        }
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..end)),
        7 => {
            let copy = bytes[at..end].to_vec();
            let times = 1 + random.below(8);
            (0..times).for_each(|_| drop(bytes.splice(at..at, copy.iter().copied())));
        }
        8 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            let to = (from + piece).min(other.len());
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
        9 => {
            let word = WORDS[random.below(WORDS.len())];
            // In place of a number, if one is there.
            let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            drop(bytes.splice(at..at + digits, word.iter().copied()));
        }
        10 => bytes[at..end].fill([0, 0xFF, b' ', b'9', b'[', b'{'][random.below(6)]),
        11 => {
            let other = random.below(length);
            for offset in 0..piece.min(length - at.min(length)).min(length - other.min(length)) {
                bytes.swap(at + offset, other + offset);
            }
        }
        _ => bytes.insert(at, random.next() as u8),
    }
}

/// Makes checksums right again, so that what lies behind them is read, too: records of WAL that lie inside one page.
pub fn mend_wal(bytes: &mut [u8]) {
    for page in bytes.chunks_mut(8192) {
        let field = |at: usize| page.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let header = if field(0) >> 16 & 2 != 0 { 40 } else { 24 };
        let mut at = header + (field(16) as usize).min(8192).next_multiple_of(8);
        while at + 24 <= page.len() {
            let total = u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]) as usize;
            if total < 24 || total > page.len() - at {
                break;
            }
            let crc = crc32c::crc32c_append(crc32c::crc32c(&page[at + 24..at + total]), &page[at..at + 20]);
            page[at + 20..at + 24].copy_from_slice(&crc.to_le_bytes());
            at += total.next_multiple_of(8);
        }
    }
}

/// Likewise the sums of tar headers.
pub fn mend_tar(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// Likewise of a control file (the sum of majors 12 to 18 lies in one of these places).
pub fn mend_control(bytes: &mut [u8]) {
    for at in [284, 288, 292, 296] {
        if bytes.len() == 8192 && bytes[at + 4..at + 64].iter().all(|byte| *byte == 0) {
            let crc = crc32c::crc32c(&bytes[..at]);
            bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            return;
        }
    }
}
