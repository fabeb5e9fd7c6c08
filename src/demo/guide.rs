//! What a demo says to its user when it is ready: commands worth trying, and what they show.

use std::path::Path;
use std::time::Duration;

/// For a demo without data.
pub fn empty(url: &str, config: &Path) -> String {
    format!(
        "
The shards are empty. A table with a column customer_id will be sharded by it; see {config} for the rest.

    psql {url}

Ctrl-C stops everything and removes it.
",
        config = config.display()
    )
}

/// For a demo with the sample data.
pub fn shop(url: &str, config: &Path, rows: u64, took: Duration) -> String {
    format!(
        r#"
ShopMart is open: {rows} rows, loaded and ready after {took} s. Worth trying, in another terminal:

  A customer's orders: the key is known, so one shard answers.
    psql {url} -c "select order_id, status, placed_at, total from orders where customer_id = 4711 order by placed_at desc limit 5"

  All shards at once, each answering for its own customers.
    psql {url} -c "select customer_id, order_id, total, currency from orders where total > 6000"

  Partial results of all shards, finished by PostgreSQL.
    psql {url} -c "select status, count(*), avg(total) from orders group by status order by 2 desc"

  How the gateway would run a statement, without running it.
    {program} explain --config {config} "select * from orders join order_items using (customer_id, order_id) where customer_id = 4711"

  Where customer 4711 lives: her bucket; shardmap.toml, beside the configuration, says whose it is.
    psql {url} -c "select pgbraid.bucket(4711)"

The configuration is {config}. Ctrl-C stops everything and removes it.
"#,
        took = took.as_secs(),
        program = program(),
        config = config.display()
    )
}

/// How the user called us, so that the command can be pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "pgbraid".to_owned())
}
