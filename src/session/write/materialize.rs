//! CREATE and REFRESH MATERIALIZED VIEW: the query is gathered into a table that only this transaction sees, on the home shard; REFRESH there reads
//! it by `pgbraid.refreshed()`; then it is dropped. `plan/ddl/materialize` says what the views are.

use crate::catalog::RelationKind;
use crate::execute::plain::Plain;
use crate::plan::{DEFINITION, Make, Materialize, Put, Store, literal, quoted};
use crate::pool::expect::Audience;
use crate::session::failure::Failure;
use crate::session::gather::described::Wire;
use crate::session::gather::run::Gathering;
use crate::session::life::Session;
use crate::wire::fields::field;
use crate::wire::reply::{self, Report};
use crate::wire::row_description::Columns;

impl Session {
    pub(in crate::session) async fn materialize(
        &mut self,
        gathering: &Gathering,
        make: &Make,
        what: &Materialize,
    ) -> Result<(), Failure> {
        let catalog = self.catalog.clone();
        let creates = matches!(what, Materialize::Create { .. });
        let _turn = if self.may_hold_locks() || !creates { None } else { catalog.ddl_turn().await };
        let own = self.begin_own_block();
        let tag = match what {
            Materialize::Create { query, filled } => {
                let rows = self.create_view(gathering, make, query, *filled).await?;
                rows.map_or("CREATE MATERIALIZED VIEW".to_owned(), |rows| format!("SELECT {rows}"))
            }
            Materialize::Refresh(text) => {
                self.refresh_view(gathering, make, text).await?;
                "REFRESH MATERIALIZED VIEW".to_owned()
            }
        };
        if own {
            self.commit_block().await?;
        }
        reply::complete(&mut self.link.client.outbound, &tag);
        Ok(())
    }

    /// Makes it on all shards; how many rows it was filled with.
    async fn create_view(
        &mut self,
        gathering: &Gathering,
        make: &Make,
        query: &str,
        filled: bool,
    ) -> Result<Option<u64>, Failure> {
        self.enlist_all().await?;
        let schema = self.view_schema(make).await?;
        self.check_home(&schema, make)?;
        let create = match self.view_columns(gathering, query).await? {
            Some(columns) => make.create.replacen(DEFINITION, &definition(query, &columns), 1),
            // PostgreSQL says what is wrong with it.
            None => make.create.replacen(DEFINITION, query, 1),
        };
        self.sing(create.as_bytes()).await?;
        if let Some(block) = self.transaction.block_mut() {
            block.note_ddl(true);
        }
        if !filled {
            return Ok(None);
        }
        let refresh = format!("REFRESH MATERIALIZED VIEW {}.{}", quoted(&schema), make.table);
        self.refresh_view(gathering, make, &refresh).await.map(Some)
    }

    /// The rows live on the home shard.
    fn check_home(&self, schema: &str, make: &Make) -> Result<(), Failure> {
        let rules = self.gateway.rules.load();
        match rules.rule(schema, &make.name).map(|_| rules.kind(schema, &make.name, &[])) {
            None | Some(RelationKind::Home) => Ok(()),
            Some(_) => Err(Report::error(
                "0A000",
                format!(
                    "materialized view \"{}\" could not be used: the configuration says that it is no home table",
                    make.name
                ),
            )
            .with_hint("Leave it out of the configuration, or use CREATE TABLE AS.")
            .into()),
        }
    }

    /// Where it is, or is to be.
    async fn view_schema(&mut self, make: &Make) -> Result<String, Failure> {
        if !make.schema.is_empty() {
            return Ok(make.schema.clone());
        }
        let schema = self.one_of_block("SELECT pg_catalog.current_schema()", &[], Wire::Simple).await?;
        Ok(String::from_utf8_lossy(&schema).into_owned())
    }

    /// Columns of the rows for it as FROM lists them; `None` if two have the same name.
    async fn view_columns(&mut self, gathering: &Gathering, query: &str) -> Result<Option<String>, Failure> {
        let columns = gathering.described.columns.named();
        let mut names: Vec<&str> = columns.iter().map(|(name, ..)| name.as_str()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        if names.len() < count || count == 0 {
            return Ok(None);
        }
        let text = format!("SELECT * FROM ({query}) AS query ({})", numbered(count).join(", "));
        let home = self.gateway.home();
        let at = self.link.position(home).unwrap_or(0);
        let mut answers = self.ask_of(at, &[text.as_bytes()], &[], Wire::Simple).await?;
        let columns = Columns::new(answers.pop().and_then(|(_, columns)| columns).unwrap_or_default());
        Ok(self.definitions(&[(&text, &columns)], &[], Wire::Simple).await?.pop())
    }

    /// Fills it, by this statement of the home shard's; returns how many rows it has then.
    async fn refresh_view(&mut self, gathering: &Gathering, make: &Make, refresh: &str) -> Result<u64, Failure> {
        let columns = numbered(gathering.described.columns.named().len());
        let home = self.gateway.home();
        self.enlist_for(home, crate::plan::Access::Write).await?;
        let schema = self.view_schema(make).await?;
        let table = format!("{}.{}", quoted(&schema), quoted(&format!("pgbraid_refreshed_{}", make.name)));
        let Make { query, .. } = make;
        // Its owner reads it, under whom REFRESH runs.
        let staged = format!(
            "CREATE TABLE {table} ({}) AS {query} WITH NO DATA; GRANT SELECT ON {table} TO PUBLIC",
            columns.join(", ")
        );
        self.at_home(&staged).await?;
        let put = Put {
            table: table.clone(),
            relation: make.name.clone(),
            columns,
            defaults: Vec::new(),
            draws: false,
            store: Store::Home,
            insert: None,
            returns: false,
        };
        let rows = self.fill_table(gathering, &put).await?;
        self.note_locked(refresh.as_bytes());
        self.at_home(&format!("SET LOCAL pgbraid.refreshed = {}", literal(&table))).await?;
        self.at_home(refresh).await?;
        self.at_home(&format!("DROP TABLE {table}; SET LOCAL pgbraid.refreshed = ''")).await?;
        Ok(rows)
    }

    /// Has the home shard's server run a text; the client sees errors only.
    async fn at_home(&mut self, text: &str) -> Result<(), Failure> {
        let home = self.gateway.home();
        let at = self.link.position(home).ok_or_else(|| Report::error("XX000", "the block has lost its home"))?;
        self.link.servers[at].server.send_query(text.as_bytes(), Audience::Gateway);
        let mut plain = Plain::default();
        self.relay_in_block(&mut plain).await?;
        if let Some(body) = &plain.hidden_error
            && field(body, b'C') == Some(b"42883")
        {
            return Err(Report::error(
                "0A000",
                "materialized views need the function pgbraid.refreshed on every shard",
            )
            .with_hint("Run pgbraid init again.")
            .into());
        }
        self.pass_on_hidden_error(&plain)
    }
}

fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("c{number}")).collect()
}

/// Of the view, on every shard.
fn definition(query: &str, columns: &str) -> String {
    format!(
        "SELECT * FROM ({query}) AS query WHERE false UNION ALL SELECT * FROM pgbraid.refreshed() AS refreshed ({columns})"
    )
}
