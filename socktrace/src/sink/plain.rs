//! Numbers, addresses and times as bytes, without the machinery of `fmt`: a busy machine has millions
//! of them a second. What comes seldom still goes through it, and everything looks as it makes it look.

#![allow(clippy::cast_precision_loss, reason = "a few digits are shown")]

use std::{io::Write as _, net::IpAddr};

use crate::clock::Clock;

const SECOND: i64 = 1_000_000_000;

/// All numbers of two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        #[allow(clippy::cast_possible_truncation, reason = "two digits")]
        let (ten, one) = ((number / 10) as u8, (number % 10) as u8);
        pairs[number] = [b'0' + ten, b'0' + one];
        number += 1;
    }
    pairs
};

/// Appends a number.
pub(super) fn decimal(out: &mut Vec<u8>, number: u64) {
    // As many digits as the largest has.
    let mut digits = [0; 20];
    let at = fill(&mut digits, number);
    out.extend_from_slice(&digits[at..]);
}

/// Writes a number to the end; where it begins.
fn fill(digits: &mut [u8], mut number: u64) -> usize {
    let mut at = digits.len();
    while number >= 10 && at >= 2 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
        if number == 0 {
            return at;
        }
    }
    at -= 1;
    digits[at] = PAIRS[(number % 10) as usize][1];
    at
}

/// Appends an address.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // Memory takes everything.
        return write!(out, "{address}").unwrap_or_default();
    };
    for (place, byte) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        decimal(out, u64::from(byte));
    }
}

/// Writes times as RFC 3339 has them, in UTC with nine digits; most are in the second of the one before.
#[derive(Debug, Default)]
pub(super) struct Rfc3339 {
    second: Option<i64>,
    text: Vec<u8>,
}

/// `YYYY-MM-DDTHH:MM:SS`.
const TO_SECONDS: usize = 19;

impl Rfc3339 {
    /// Appends the wall-clock time of an event.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, clock: &Clock, mono_ns: u64) {
        let ahead_ns = i64::try_from(clock.ahead_ns).ok();
        let wall_ns = ahead_ns.and_then(|ahead| ahead.checked_add_unsigned(mono_ns));
        let (second, ns) = match wall_ns {
            // Earlier ones and later ones have other forms.
            Some(wall_ns @ 0..) => (wall_ns / SECOND, wall_ns % SECOND),
            _ => return write!(out, "{:.9}", clock.wall(mono_ns)).unwrap_or_default(),
        };
        if self.second != Some(second) {
            self.text.clear();
            write!(self.text, "{:.9}", clock.wall(mono_ns)).unwrap_or_default();
            self.text.truncate(TO_SECONDS);
            self.second = Some(second);
        }
        let mut fraction = *b".000000000Z";
        fill(&mut fraction[1..10], ns.unsigned_abs());
        out.extend_from_slice(&self.text);
        out.extend_from_slice(&fraction);
    }
}

/// Appends `{:.1}` of so many bytes in KiB.
pub(super) fn kilobytes(out: &mut Vec<u8>, bytes: u64) {
    let Some(tenths) = bytes.checked_mul(10).filter(|_| bytes < EXACT) else {
        return write!(out, "{:.1}", bytes as f64 / 1024.0).unwrap_or_default();
    };
    // What lies in the middle goes to the even one.
    let (down, rest) = (tenths / 1024, tenths % 1024);
    let tenths = down + u64::from(rest > 512 || rest == 512 && down % 2 == 1);
    decimal(out, tenths / 10);
    out.extend_from_slice(&[b'.', PAIRS[(tenths % 10) as usize][1]]);
}

/// Appends `{:.2}` of so many nanoseconds in milliseconds.
pub(super) fn milliseconds(out: &mut Vec<u8>, ns: u64) {
    const HUNDREDTH: u64 = 10_000;
    // No `f64` lies in the middle, so where that goes depends on the next one.
    if ns % HUNDREDTH == HUNDREDTH / 2 || ns >= EXACT {
        return write!(out, "{:.2}", ns as f64 / 1e6).unwrap_or_default();
    }
    let hundredths = (ns + HUNDREDTH / 2) / HUNDREDTH;
    decimal(out, hundredths / 100);
    out.push(b'.');
    out.extend_from_slice(&PAIRS[(hundredths % 100) as usize]);
}

/// Below this an `f64` is so close to what it stands for that it is rounded like that.
const EXACT: u64 = 1 << 40;

/// Makes what was appended since `from` as wide as a column.
pub(super) fn pad(out: &mut Vec<u8>, from: usize, column: Column) {
    // As `fmt` counts: characters, the first byte of each.
    let text = &out[from..];
    let long = if text.is_ascii() {
        text.len()
    } else {
        text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
    };
    let (Column::Left(width) | Column::Right(width)) = column;
    let missing = width.saturating_sub(long);
    out.resize(out.len() + missing, b' ');
    if matches!(column, Column::Right(_)) {
        out[from..].rotate_right(missing);
    }
}

/// Where the text of a column stands, and how wide it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Left(usize),
    Right(usize),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_smallest_and_the_largest_numbers_are_as_fmt_writes_them() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let near = powers.flat_map(|it| [it - 1, it, it + 1]);
        for number in near.chain(0..1_000).chain([u64::MAX]) {
            assert_eq!(text(|out| decimal(out, number)), number.to_string());
        }
    }

    #[test]
    fn a_time_is_as_jiff_writes_it_whatever_came_before() {
        let mut times = Rfc3339::default();
        for ahead_ns in [
            1_700_000_000_999_999_999,
            -5,
            0,
            i128::MAX,
            i128::MIN,
            1 << 62,
        ] {
            let clock = Clock {
                ahead_ns,
                began_ns: 0,
            };
            for mono_ns in [
                0,
                1,
                4,
                5,
                10,
                1_000_000_000,
                1_000_000_001,
                1 << 62,
                u64::MAX,
            ] {
                assert_eq!(
                    text(|out| times.append(out, &clock, mono_ns)),
                    format!("{:.9}", clock.wall(mono_ns))
                );
            }
        }
    }

    #[test]
    fn a_column_is_as_wide_as_fmt_makes_it() {
        for word in ["", "-", "wörker", "a-name-that-is-long"] {
            let padded = |column| {
                text(|out| {
                    out.extend_from_slice(word.as_bytes());
                    pad(out, 0, column);
                })
            };
            assert_eq!(padded(Column::Left(8)), format!("{word:<8}"));
            assert_eq!(padded(Column::Right(8)), format!("{word:>8}"));
        }
    }

    proptest! {
        #[test]
        fn any_quantity_is_rounded_as_fmt_rounds_it(
            number in any::<u64>(),
            fewer in 0_u32..64,
            middle in any::<bool>(),
        ) {
            let number = number >> fewer;
            let ns = if middle { number / 10_000 * 10_000 + 5_000 } else { number };
            prop_assert_eq!(text(|out| milliseconds(out, ns)), format!("{:.2}", ns as f64 / 1e6));
            let bytes = if middle { number / 512 * 512 + 256 } else { number };
            prop_assert_eq!(text(|out| kilobytes(out, bytes)), format!("{:.1}", bytes as f64 / 1024.0));
        }

        #[test]
        fn any_number_and_any_address_is_as_fmt_writes_it(
            number in any::<u64>(),
            ip in any::<IpAddr>(),
        ) {
            prop_assert_eq!(text(|out| decimal(out, number)), number.to_string());
            prop_assert_eq!(text(|out| address(out, ip)), ip.to_string());
        }
    }
}
