//! Several statements in one Query: whole to the shard that is the place of them all, or one by one in an implicit block.

use std::ops::Range;
use std::sync::Arc;

use super::failure::Failure;
use super::life::{Ended, Session};
use super::plans::compiled::Compiled;
use super::probe::not_understood;
use super::statement::NoArguments;
use crate::plan::{Access, Destination, Plan, Planned};
use crate::txn::state::BlockKind;
use crate::wire::reply;
use shardmap::ShardId;

/// Error positions in a script are kept right by padding, of up to so much in all; beyond, they count from the statement.
const PADDING_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Session {
    /// The one shard on which all statements of a script run as they are, if there is one: PostgreSQL can have it whole.
    pub(super) fn common_place(&self, statements: &[Planned]) -> Option<(ShardId, Access)> {
        let mut place = None;
        let mut access = Access::Read;
        for Planned { plan, .. } in statements {
            let Plan::Rows(route) = plan else { return None };
            let Ok(Destination::One(shard)) = self.destination(route, &NoArguments) else { return None };
            if *place.get_or_insert(shard) != shard {
                return None;
            }
            access = access.max(route.access);
        }
        if self.transaction.has_failed() { None } else { place.map(|shard| (shard, access)) }
    }

    pub(super) async fn whole_script(&mut self, text: &[u8], shard: ShardId, access: Access) -> Result<Ended, Failure> {
        let at = self.enlist_for(shard, access).await?;
        self.forward_query(at, text, true).await
    }

    /// Runs a script statement by statement, in one implicit block.
    pub(super) async fn script(&mut self, compiled: &Arc<Compiled>, text: &[u8]) -> Result<Ended, Failure> {
        if matches!(compiled.statements.as_deref(), Some([] | [Planned { plan: Plan::Empty, .. }])) {
            reply::empty_query(&mut self.link.client.outbound);
        }
        for planned in compiled.statements.iter().flatten() {
            self.begin_own_block();
            let statement = padded(text, &planned.range, compiled.count());
            if !planned.replan {
                self.statement(compiled, &statement, &planned.plan, false).await?;
                continue;
            }
            // What ran before it may have changed what its names mean.
            let anew = self.known(&statement, &[]).await?;
            match anew.statements.as_deref() {
                Some([Planned { plan, .. }]) => self.statement(&anew, &statement, plan, false).await?,
                Some(_) | None => return Err(not_understood().into()),
            };
        }
        if self.transaction.block().is_some_and(|block| block.kind == BlockKind::Implicit) {
            self.commit_block().await?;
        }
        Ok(Ended::NotReady)
    }
}

/// A statement of a script of so many behind as many blanks as there are characters before it, so that positions in errors are
/// right.
pub(super) fn padded<'a>(text: &'a [u8], range: &Range<usize>, statements: usize) -> std::borrow::Cow<'a, [u8]> {
    let statement = text.get(range.clone()).unwrap_or_default();
    if range.start == 0 || range.start.saturating_mul(statements) > PADDING_BYTES_MAX {
        return statement.into();
    }
    let characters = text[..range.start].iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
    let mut padded = vec![b' '; characters];
    padded.extend_from_slice(statement);
    padded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        assert_eq!(padded("é;select".as_bytes(), &(3..9), 2).as_ref(), b"  select");
    }

    #[test]
    fn padding_does_not_grow_with_the_square_of_a_script() {
        for statements in [10, 1_000, 100_000] {
            let script = b"select;".repeat(statements);
            let padded = (0..statements).map(|at| padded(&script, &(at * 7..at * 7 + 6), statements).len());
            assert!(padded.sum::<usize>() <= script.len() + PADDING_BYTES_MAX, "{statements} statements");
        }
    }
}
