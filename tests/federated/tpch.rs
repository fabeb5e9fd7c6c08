//! TPC-H's tables, rows and queries.

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen::q_and_a::queries;

/// Facts sharded by order, customers by customer, the rest on every shard.
pub const BY_ORDER: &str = "
[tables.lineitem]\nkey = \"l_orderkey\"\n[tables.orders]\nkey = \"o_orderkey\"\n[tables.customer]\nkey = \"c_custkey\"
[tables.part]\nkind = \"reference\"\n[tables.partsupp]\nkind = \"reference\"\n[tables.supplier]\nkind = \"reference\"
[tables.nation]\nkind = \"reference\"\n[tables.region]\nkind = \"reference\"\n";

/// Parts and suppliers sharded by keys of their own, so that most joins are between shards.
pub const BY_OWN_KEYS: &str = "
[tables.lineitem]\nkey = \"l_orderkey\"\n[tables.orders]\nkey = \"o_orderkey\"\n[tables.customer]\nkey = \"c_custkey\"
[tables.part]\nkey = \"p_partkey\"\n[tables.partsupp]\nkey = \"ps_partkey\"\n[tables.supplier]\nkey = \"s_suppkey\"
[tables.nation]\nkind = \"reference\"\n[tables.region]\nkind = \"reference\"\n";

/// *Source*: TPC-H specification 3.0.1, 1.4.
pub const SCHEMA: &[&str] = &[
    "CREATE TABLE region (r_regionkey int4 PRIMARY KEY, r_name char(25), r_comment varchar(152))",
    "CREATE TABLE nation (n_nationkey int4 PRIMARY KEY, n_name char(25), n_regionkey int4, n_comment varchar(152))",
    "CREATE TABLE part (p_partkey int4 PRIMARY KEY, p_name varchar(55), p_mfgr char(25), p_brand char(10), p_type varchar(25), p_size int4, p_container char(10), p_retailprice numeric(15,2), p_comment varchar(23))",
    "CREATE TABLE supplier (s_suppkey int4 PRIMARY KEY, s_name char(25), s_address varchar(40), s_nationkey int4, s_phone char(15), s_acctbal numeric(15,2), s_comment varchar(101))",
    "CREATE TABLE partsupp (ps_partkey int4, ps_suppkey int4, ps_availqty int4, ps_supplycost numeric(15,2), ps_comment varchar(199), PRIMARY KEY (ps_partkey, ps_suppkey))",
    "CREATE TABLE customer (c_custkey int4 PRIMARY KEY, c_name varchar(25), c_address varchar(40), c_nationkey int4, c_phone char(15), c_acctbal numeric(15,2), c_mktsegment char(10), c_comment varchar(117))",
    "CREATE TABLE orders (o_orderkey int8 PRIMARY KEY, o_custkey int4, o_orderstatus char(1), o_totalprice numeric(15,2), o_orderdate date, o_orderpriority char(15), o_clerk char(15), o_shippriority int4, o_comment varchar(79))",
    "CREATE TABLE lineitem (l_orderkey int8, l_partkey int4, l_suppkey int4, l_linenumber int4, l_quantity numeric(15,2), l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2), l_returnflag char(1), l_linestatus char(1), l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct char(25), l_shipmode char(10), l_comment varchar(44), PRIMARY KEY (l_orderkey, l_linenumber))",
];

/// The tables, in the order in which they are loaded.
pub const TABLES: [&str; 8] = ["region", "nation", "part", "supplier", "partsupp", "customer", "orders", "lineitem"];

/// On foreign keys (1.4.2.2), without which one Postgres takes hours for Q17 and Q20 at scale 1.
pub const INDEXES: [&str; 3] = ["lineitem (l_partkey, l_suppkey)", "orders (o_custkey)", "partsupp (ps_suppkey)"];

/// The rows of a table as lines of COPY's text format with `|` between the values; `scale` is the specification's scale factor.
pub fn rows(table: &str, scale: f64, take: &mut dyn FnMut(&str)) {
    match table {
        "region" => lines(RegionGenerator::new(scale, 1, 1).iter(), take),
        "nation" => lines(NationGenerator::new(scale, 1, 1).iter(), take),
        "part" => lines(PartGenerator::new(scale, 1, 1).iter(), take),
        "supplier" => lines(SupplierGenerator::new(scale, 1, 1).iter(), take),
        "partsupp" => lines(PartSuppGenerator::new(scale, 1, 1).iter(), take),
        "customer" => lines(CustomerGenerator::new(scale, 1, 1).iter(), take),
        "orders" => lines(OrderGenerator::new(scale, 1, 1).iter(), take),
        "lineitem" => lines(LineItemGenerator::new(scale, 1, 1).iter(), take),
        other => panic!("TPC-H has no table {other}"),
    }
}

fn lines(rows: impl Iterator<Item = impl std::fmt::Display>, take: &mut dyn FnMut(&str)) {
    for row in rows {
        let line = row.to_string();
        take(line.strip_suffix('|').unwrap_or(&line));
    }
}

/// A query with the specification's validation parameters (2.4.x.3), and its row limit (2.1.2.9).
pub fn statement(number: i32) -> String {
    let (parameters, limit): (&[&str], &str) = match number {
        1 => (&["90"], ""),
        2 => (&["15", "BRASS", "EUROPE"], "100"),
        3 => (&["BUILDING", "1995-03-15"], "10"),
        4 => (&["1993-07-01"], ""),
        5 => (&["ASIA", "1994-01-01"], ""),
        6 => (&["1994-01-01", "0.06", "24"], ""),
        7 => (&["FRANCE", "GERMANY"], ""),
        8 => (&["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"], ""),
        9 => (&["green"], ""),
        10 => (&["1993-10-01"], "20"),
        11 => (&["GERMANY", "0.0001"], ""),
        12 => (&["MAIL", "SHIP", "1994-01-01"], ""),
        13 => (&["special", "requests"], ""),
        14 => (&["1995-09-01"], ""),
        15 => (&["1996-01-01"], ""),
        16 => (&["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"], ""),
        17 => (&["Brand#23", "MED BOX"], ""),
        18 => (&["300"], "100"),
        19 => (&["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"], ""),
        20 => (&["forest", "1994-01-01", "CANADA"], ""),
        21 => (&["SAUDI ARABIA"], "100"),
        _ => (&["13", "31", "23", "29", "30", "18", "17"], ""),
    };
    let mut text = queries::query(number).unwrap().trim().trim_end_matches(';').to_owned();
    if number == 15 {
        // The view of the specification, as the WITH query it allows (2.2.3.5).
        text = text.replace(
            "create view revenue:s (supplier_no, total_revenue) as",
            "with revenue (supplier_no, total_revenue) as (",
        );
        text = text.replacen(";\nselect", ")\nselect", 1).replace("revenue:s", "revenue");
        text.truncate(text.find(';').unwrap());
    }
    // The longest names first: :10 is not :1 with a nought.
    for (at, value) in parameters.iter().enumerate().rev() {
        text = text.replace(&format!(":{}", at + 1), value);
    }
    // PostgreSQL knows no precision of a constant's days.
    text = text.replace("day (3)", "day");
    if limit.is_empty() { text } else { format!("{text}\nlimit {limit}") }
}
