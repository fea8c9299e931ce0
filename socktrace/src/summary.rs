//! What a run saw, in a few lines on standard error.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::{
    change::{Kind, What},
    probe::counters::Counters,
    sink::text::duration,
    table::Brief,
};

/// Adds up rows.
#[derive(Debug)]
pub struct Summary {
    counts: [u64; Kind::OF_SOCKETS.len()],
    failed_connects: u64,
    /// Microseconds.
    lifetimes: Histogram<u64>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            counts: [0; Kind::OF_SOCKETS.len()],
            failed_connects: 0,
            // Two digits are what is shown; the range grows by itself.
            lifetimes: histogram(),
        }
    }
}

fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(2).unwrap_or_else(|_| unreachable!("2 digits are valid"));
    histogram.auto(true);
    histogram
}

impl Summary {
    /// Counts a row.
    pub fn add(&mut self, what: &What) {
        let kind = what.kind();
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count += 1;
        }
        match *what {
            What::Connect { error: Some(_), .. } => self.failed_connects += 1,
            What::End {
                lifetime_ns: Some(ns),
                ..
            } => {
                // Fails only where the range cannot grow, and it does.
                self.lifetimes.record(ns / 1_000).unwrap_or_default();
            }
            _ => {}
        }
    }

    /// Counts rows of which only the kind is known.
    pub fn count(&mut self, briefs: &[Brief]) {
        for brief in briefs {
            if let Some(count) = self.counts.get_mut(brief.kind as usize) {
                *count += 1;
            }
        }
    }

    /// The lines. `open` is the number of sockets that we know to be open.
    pub fn text(&self, elapsed_ns: u64, open: usize, counters: Option<&Counters>) -> String {
        let total: u64 = self.counts.iter().sum();
        let mut text = format!("{total} events in {}", duration(elapsed_ns));
        let counted: Vec<_> = Kind::OF_SOCKETS
            .iter()
            .zip(self.counts)
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| match (kind, self.failed_connects) {
                (Kind::Connect, failed @ 1..) => format!("connect {count} ({failed} failed)"),
                _ => format!("{} {count}", kind.word()),
            })
            .collect();
        if !counted.is_empty() {
            _ = write!(text, ": {}", counted.join(", "));
        }
        if !self.lifetimes.is_empty() {
            let at = |quantile| {
                duration(
                    self.lifetimes
                        .value_at_quantile(quantile)
                        .saturating_mul(1_000),
                )
            };
            let (half, most, nearly) = (at(0.5), at(0.95), at(0.99));
            _ = write!(text, "\nlifetimes: p50 {half}, p95 {most}, p99 {nearly}");
        }
        _ = write!(text, "\nstill open: {open}");
        if let Some(counters) = counters {
            text += &ledger(counters);
        }
        text
    }
}

/// The kernel side's books.
fn ledger(counters: &Counters) -> String {
    let Counters {
        mono_ns: _,
        seen,
        emitted,
        folded,
        filtered,
        lost_ring,
        lost_map,
        recursion,
    } = counters;
    let lost = lost_ring.saturating_add(*lost_map);
    let sign = if counters.balanced() { "=" } else { "!=" };
    let mut text = format!(
        "\nlost: {}\nkernel: seen {seen} {sign} emitted {emitted} + folded {folded} \
         + filtered {filtered} + lost {lost}",
        counters.lost()
    );
    if counters.lost() > 0 {
        _ = write!(
            text,
            "\nlost where: {lost_ring} ring buffer full (a larger --ring-size helps), \
             {lost_map} kernel map full, {recursion} skipped by the kernel"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_do_not_balance_say_so() {
        let mut counters = Counters {
            seen: 3,
            emitted: 2,
            filtered: 1,
            ..Counters::default()
        };
        assert!(ledger(&counters).contains("seen 3 = emitted 2"));
        counters.lost_ring = 1;
        let text = ledger(&counters);
        assert!(text.contains("seen 3 != emitted 2"), "{text}");
        assert!(text.contains("1 ring buffer full"), "{text}");
    }
}
