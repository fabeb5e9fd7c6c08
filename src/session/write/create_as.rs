//! CREATE TABLE AS and SELECT INTO: the table is made on all shards, and the query's rows are put where they belong, in one transaction.

use std::sync::Arc;

use crate::catalog::{Column, RelationKind};
use crate::plan::{Gather, Make, Put, Store, quoted};
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::gather::run::Gathering;
use crate::session::life::{Ended, Session};
use crate::session::parameters::Parameters;
use crate::wire::reply::{self, ColumnName, Report};

impl Session {
    /// Such a statement in the simple protocol.
    pub(in crate::session) async fn make_simple(
        &mut self,
        gather: &Arc<Gather>,
        make: &Make,
    ) -> Result<Ended, Failure> {
        let described = self.described(make.query.as_bytes(), &[], gather, Wire::Simple).await?;
        let gathering = Gathering { described, parameters: Parameters::default(), result_formats: Vec::new() };
        self.make_table(&gathering, make).await?;
        Ok(Ended::NotReady)
    }

    /// The same in the extended protocol: all that a pipeline does is one transaction, which its Sync ends.
    pub(in crate::session) async fn execute_make(&mut self, gathering: &Gathering, make: &Make) -> Result<(), Failure> {
        self.drain().await?;
        self.begin_behind_pipeline();
        self.settle_implicit().await?;
        self.make_table(gathering, make).await
    }

    async fn make_table(&mut self, gathering: &Gathering, make: &Make) -> Result<(), Failure> {
        if let Some(what) = &make.materialize {
            return Box::pin(self.materialize(gathering, make, what)).await;
        }
        let put = self.put_of(gathering, make)?;
        let catalog = self.catalog.clone();
        let _turn = if self.may_hold_locks() { None } else { catalog.ddl_turn().await };
        let own = self.begin_own_block();
        self.enlist_all().await?;
        self.sing(make.create.as_bytes()).await?;
        if let Some(block) = self.transaction.block_mut() {
            block.note_ddl(true);
        }
        let rows = self.fill_table(gathering, &put).await?;
        if own {
            self.commit_block().await?;
        }
        reply::complete(&mut self.link.client.outbound, &format!("SELECT {rows}"));
        Ok(())
    }

    /// Where the rows of the new table go: what kind it is to be.
    fn put_of(&self, gathering: &Gathering, make: &Make) -> Result<Put, Failure> {
        let columns = gathering.described.columns.named().into_iter();
        let mut columns: Vec<Column> = columns.map(|(name, oid, typmod)| Column::new(name, oid, typmod)).collect();
        for (column, name) in columns.iter_mut().zip(&make.columns) {
            column.name.clone_from(name);
        }
        if columns.is_empty() {
            return Err(Report::error("0A000", "a table without columns cannot be made from a query")
                .with_hint("CREATE TABLE first.")
                .into());
        }
        let rules = self.gateway.rules.load();
        let store = match rules.kind(&make.schema, &make.name, &columns) {
            RelationKind::Sharded { key, key_type } => {
                let column = columns.get(key).map(|column| column.name.clone()).unwrap_or_default();
                // In which schema it will be PostgreSQL says.
                let column = ColumnName { schema: String::new(), table: make.name.clone(), column };
                Store::Sharded { key, key_type, column }
            }
            RelationKind::Reference => Store::Reference,
            RelationKind::Unusable { reason } => {
                let text = format!("table \"{}\" could not be used: {reason}", make.name);
                return Err(Report::error("0A000", text).into());
            }
            RelationKind::Home | RelationKind::System | RelationKind::View { .. } | RelationKind::Sequence => {
                Store::Home
            }
        };
        Ok(Put {
            table: make.table.clone(),
            relation: make.name.clone(),
            columns: columns.iter().map(|column| quoted(&column.name)).collect(),
            defaults: Vec::new(),
            draws: false,
            store,
            insert: None,
            returns: false,
        })
    }
}
