//! Bind, on one server or on several.

use shardmap::ShardId;

use crate::plan::Access;
use crate::pool::expect::{Audience, Step};
use crate::pool::renumber;
use crate::pool::server::Server;
use crate::session::failure::Failure;
use crate::session::life::Session;
use crate::session::plans::compiled::Embeds;
use crate::session::statement::Place;
use crate::session::transaction::snapshot_reads::Moment;
use crate::wire::frontend::Bind;
use crate::wire::reply;

/// A Bind, and what its statement's values hold of numbers of types, where they must be translated.
pub(super) type Binding<'a> = (&'a Bind<'a>, Option<&'a Embeds>);

impl Session {
    /// Binds on one server.
    pub(in crate::session) async fn bind_on(&mut self, at: usize, bind: Binding<'_>) -> Result<Place, Failure> {
        self.engage(at).await?;
        self.send_bind(at, bind, true);
        let enlisted = &self.link.servers[at];
        Ok(Place::One { shard: enlisted.shard, replica: enlisted.replica })
    }

    /// Binds on several servers, at one moment if that is asked for: it is at Bind that a query takes its snapshot. *Source*:
    /// pquery.c, PortalStart.
    pub(super) async fn bind_at(
        &mut self,
        shards: Vec<ShardId>,
        access: Access,
        bind: Binding<'_>,
    ) -> Result<Place, Failure> {
        let moment = self.moment(access)?;
        let held = if let Moment::Held = moment { Some(self.hold_commits_off().await?) } else { None };
        self.begin_if_own(&moment);
        let place = self.bind_many(shards, access, bind).await?;
        if let Some(held) = held {
            self.drain().await?;
            self.confirm_held(held).await?;
        }
        Ok(place)
    }

    /// Binds on several servers; the client sees the first one's answer.
    pub(super) async fn bind_many(
        &mut self,
        shards: Vec<ShardId>,
        access: Access,
        bind: Binding<'_>,
    ) -> Result<Place, Failure> {
        self.drain().await?;
        let places = self.enlist_many(&shards, access).await?;
        for (nth, at) in places.iter().enumerate() {
            self.send_bind(*at, bind, nth == 0);
            if nth == 0 && access == Access::Write {
                // Bind takes locks: the first shard has them before the others are asked.
                self.drain().await?;
            }
        }
        Ok(Place::Many { shards, order: None })
    }

    /// Sends Bind to a server that is made to hold the statement; the client gets the answer if `forward`.
    pub(super) fn send_bind(&mut self, at: usize, (bind, embeds): Binding<'_>, forward: bool) {
        let numbers = self.bound_numbers(at, bind, embeds);
        let name = self.hold(at, bind.statement, forward).unwrap_or_default();
        let server: &mut Server = &mut self.link.servers[at].server;
        reply::bind(&mut server.outbound, bind.portal, &name, bind.rest, bind.more_bytes);
        let start = server.outbound.len().saturating_sub(bind.rest.len());
        renumber::write(&mut server.outbound[start..], &numbers);
        server.expects.push(Step::Bind, if forward { Audience::Client } else { Audience::Gateway });
    }
}
