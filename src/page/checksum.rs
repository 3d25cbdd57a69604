//! The checksum of data pages.
//!
//! 32 independent sums run through the page, one for each column of a table of 32-bit words with rows of 128 bytes.
//! The state is a plain array and each step a plain loop over it, in the form that the compiler turns into vector
//! instructions without being told; a page then costs about as much as copying it.

const LANES: usize = 32;
const ROW_BYTES: usize = LANES * 4;
const PRIME: u32 = 16_777_619;
/// Where `pd_checksum` lies; it counts as zero.
const CHECKSUM_AT: usize = 8;

/// What the sums start from: fixed by PostgreSQL's on-disk format.
const START: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

#[inline(always)]
fn step(sum: u32, word: u32) -> u32 {
    let mixed = sum ^ word;
    mixed.wrapping_mul(PRIME) ^ (mixed >> 17)
}

#[inline(always)]
fn add_row(sums: &mut [u32; LANES], row: &[u8; ROW_BYTES]) {
    let mut words = [0u32; LANES];
    for (word, bytes) in words.iter_mut().zip(row.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    for (sum, word) in sums.iter_mut().zip(words) {
        *sum = step(*sum, word);
    }
}

/// The checksum that a page with this number within its fork must have: 1 to 65535. Pages are multiples of 128
/// bytes long; what is beyond the last such multiple does not count.
pub fn page_checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = START;
    let (rows, _) = page.as_chunks::<ROW_BYTES>();
    let mut rows = rows.iter();
    if let Some(first) = rows.next() {
        let mut first = *first;
        first[CHECKSUM_AT] = 0;
        first[CHECKSUM_AT + 1] = 0;
        add_row(&mut sums, &first);
    }
    for row in rows {
        add_row(&mut sums, row);
    }
    for _ in 0..2 {
        for sum in &mut sums {
            *sum = step(*sum, 0);
        }
    }
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    (folded % 65_535 + 1) as u16
}
