//! Which line of the client's COPY data a shard means by its line number.

use std::collections::VecDeque;

/// Rows remembered per shard. A shard reports an error about a row that it has read; what it has not read yet fits in the
/// socket buffers and windows between, which is far less than this many rows.
const ROWS_REMEMBERED: usize = 1 << 18;

/// The lines sent to one shard.
#[derive(Debug, Default)]
pub struct SentLines {
    lines: VecDeque<u64>,
    forgotten: u64,
}

impl SentLines {
    /// A row (or header) was sent that the client's data has in this line.
    pub fn push(&mut self, line: u64) {
        if self.lines.len() == ROWS_REMEMBERED {
            self.lines.pop_front();
            self.forgotten += 1;
        }
        self.lines.push_back(line);
    }

    /// The client's line for the shard's `line`, counted from 1.
    pub fn of(&self, line: u64) -> Option<u64> {
        let index = line.checked_sub(1 + self.forgotten)?;
        self.lines.get(usize::try_from(index).ok()?).copied()
    }

    /// An error's context with the shard's line number replaced by the client's: `COPY orders, line 3, column total: "x"`.
    pub fn translate(&self, context: &str) -> String {
        let Some((before, after)) = context.split_once(", line ") else { return context.to_owned() };
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        match after[..end].parse().ok().and_then(|line| self.of(line)) {
            Some(line) if before.starts_with("COPY ") => format!("{before}, line {line}{}", &after[end..]),
            _ => context.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shards_line_becomes_the_clients() {
        let mut lines = SentLines::default();
        lines.push(4);
        lines.push(9);
        assert_eq!(lines.translate("COPY orders, line 2, column id: \"x\""), "COPY orders, line 9, column id: \"x\"");
        assert_eq!(lines.translate("COPY orders, line 3"), "COPY orders, line 3");
        assert_eq!(lines.translate("SQL function \"f\", line 2"), "SQL function \"f\", line 2");
    }

    #[test]
    fn old_rows_are_forgotten_without_confusing_the_rest() {
        let mut lines = SentLines::default();
        for line in 0..=ROWS_REMEMBERED as u64 {
            lines.push(line + 10);
        }
        assert_eq!(lines.of(1), None);
        assert_eq!(lines.of(2), Some(11));
    }
}
