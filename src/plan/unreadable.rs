//! Statements with characters in another encoding than UTF-8, which the parser has not seen: what the gateway would write of them anew
//! would not have them.

use super::{CursorVerb, Plan, Planned, PreparedVerb, Refusal, Route, Several, Target, TransactionVerb};

/// Stands for a byte of such a character.
pub const UNREADABLE: char = '$';

/// Refuses what does not run as the client has sent it.
pub fn refuse(statements: &mut [Planned]) {
    statements.iter_mut().for_each(|planned| plan(&mut planned.plan));
}

fn plan(found: &mut Plan) {
    let refused = match found {
        Plan::Rows(of) | Plan::Cursor(CursorVerb::Declare { route: of, .. }) => route(of),
        Plan::Prepared(PreparedVerb::Prepare { plan: body, .. }) => {
            plan(body);
            false
        }
        // What it gives may decide where the statement runs, and be written into a text anew.
        Plan::Prepared(PreparedVerb::Execute { arguments, .. } | PreparedVerb::Within { arguments, .. })
            if arguments.iter().flatten().flatten().any(|value| value.contains(UNREADABLE)) =>
        {
            *found = Plan::Refuse(
                Refusal::unsupported(
                    "characters of another encoding than UTF8 in the arguments of EXECUTE are not supported",
                )
                .hint("SET client_encoding TO UTF8, or use the protocol's Bind message."),
            );
            false
        }
        // It is kept, and said again to other servers.
        Plan::Setting(_) => {
            *found = Plan::Refuse(
                Refusal::unsupported(
                    "characters of another encoding than UTF8 in what changes settings are not supported",
                )
                .hint("SET client_encoding TO UTF8 first."),
            );
            false
        }
        Plan::Transaction(
            TransactionVerb::Savepoint(_)
            | TransactionVerb::Release(_)
            | TransactionVerb::RollbackTo(_)
            | TransactionVerb::Constraints { .. },
        ) => {
            let reason =
                "characters of another encoding than UTF8 in names of savepoints and constraints are not supported";
            *found = Plan::Refuse(Refusal::unsupported(reason).hint("SET client_encoding TO UTF8 first."));
            false
        }
        Plan::Empty
        | Plan::CopyIn(_)
        | Plan::Everywhere(_)
        | Plan::Transaction(_)
        | Plan::SettingQuery(_)
        | Plan::Discard(_)
        | Plan::Prepared(_)
        | Plan::Cursor(_)
        | Plan::Refuse(_) => false,
    };
    if refused {
        *found = Plan::Refuse(refusal());
    }
}

/// Whether it needs texts of the gateway's own. A statement for one key does not, if there is one.
fn route(route: &mut Route) -> bool {
    match &mut route.target {
        Target::Keyed(keyed) => {
            if let Several::Gather(_) = keyed.several {
                keyed.several = Several::Refuse(refusal());
            }
            false
        }
        Target::Computed(_) | Target::Moved(_) | Target::Fetched(_) | Target::Gather(_) => true,
        Target::Any | Target::Home | Target::Scatter | Target::Unknown | Target::Replicated { .. } => false,
    }
}

fn refusal() -> Refusal {
    Refusal::unsupported(
        "characters of another encoding than UTF8 in a statement that several shards answer together are not supported",
    )
    .hint("SET client_encoding TO UTF8, or pass them as parameters.")
}
