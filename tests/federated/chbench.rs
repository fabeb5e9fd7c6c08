//! The CH-benCHmark: TPC-C's tables with TPC-H's suppliers, small, with rows of a fixed seed, and its analytical queries.

use crate::choices::Choices;
use crate::client::Client;
use crate::tpch::copy;

/// Everything of a warehouse is on one shard.
pub const CONFIG: &str = "
[tables.warehouse]\nkey = \"w_id\"\n[tables.district]\nkey = \"d_w_id\"\n[tables.customer]\nkey = \"c_w_id\"
[tables.new_order]\nkey = \"no_w_id\"\n[tables.oorder]\nkey = \"o_w_id\"\n[tables.order_line]\nkey = \"ol_w_id\"
[tables.stock]\nkey = \"s_w_id\"\n[tables.item]\nkind = \"reference\"\n[tables.supplier]\nkind = \"reference\"
[tables.nation]\nkind = \"reference\"\n[tables.region]\nkind = \"reference\"\n";

/// *Source*: TPC-C specification 5.11, 1.3; supplier, nation and region of the CH-benCHmark.
const SCHEMA: &[&str] = &[
    "CREATE TABLE warehouse (w_id int4 PRIMARY KEY, w_name varchar(10), w_state char(2), w_tax numeric(4,4), w_ytd numeric(12,2))",
    "CREATE TABLE district (d_w_id int4, d_id int4, d_name varchar(10), d_tax numeric(4,4), d_next_o_id int4, PRIMARY KEY (d_w_id, d_id))",
    "CREATE TABLE customer (c_w_id int4, c_d_id int4, c_id int4, c_last varchar(16), c_credit char(2), c_balance numeric(12,2), c_city varchar(20), c_state char(2), c_phone char(16), c_since timestamp, PRIMARY KEY (c_w_id, c_d_id, c_id))",
    "CREATE TABLE new_order (no_w_id int4, no_d_id int4, no_o_id int4, PRIMARY KEY (no_w_id, no_d_id, no_o_id))",
    "CREATE TABLE oorder (o_w_id int4, o_d_id int4, o_id int4, o_c_id int4, o_carrier_id int4, o_ol_cnt int4, o_entry_d timestamp, PRIMARY KEY (o_w_id, o_d_id, o_id))",
    "CREATE TABLE order_line (ol_w_id int4, ol_d_id int4, ol_o_id int4, ol_number int4, ol_i_id int4, ol_delivery_d timestamp, ol_amount numeric(6,2), ol_supply_w_id int4, ol_quantity int4, ol_dist_info char(24), PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number))",
    "CREATE TABLE stock (s_w_id int4, s_i_id int4, s_quantity int4, s_ytd numeric(8,2), s_order_cnt int4, s_data varchar(50), PRIMARY KEY (s_w_id, s_i_id))",
    "CREATE TABLE item (i_id int4 PRIMARY KEY, i_name varchar(24), i_price numeric(5,2), i_data varchar(50), i_im_id int4)",
    "CREATE TABLE supplier (su_suppkey int4 PRIMARY KEY, su_name char(25), su_address varchar(40), su_nationkey int4, su_phone char(15), su_acctbal numeric(12,2), su_comment char(101))",
    "CREATE TABLE nation (n_nationkey int4 PRIMARY KEY, n_name char(25), n_regionkey int4, n_comment char(152))",
    "CREATE TABLE region (r_regionkey int4 PRIMARY KEY, r_name char(55), r_comment char(152))",
];

const WAREHOUSES: u32 = 8;
const DISTRICTS: u32 = 2;
const CUSTOMERS: u32 = 15;
const ORDERS: u32 = 18;
const ITEMS: u32 = 90;

/// Letters of customers' states; a nation's number is that of the letter.
const LETTERS: &[u8] = b"ABCGn3";
const NATIONS: [&str; 6] = ["GERMANY", "CAMBODIA", "FRANCE", "KENYA", "PERU", "INDIA"];
const REGIONS: [&str; 3] = ["EUROPE", "ASIA", "AFRICA"];

/// Makes the tables with their rows.
pub fn load(client: &mut Client) {
    SCHEMA.iter().for_each(|statement| client.run(statement));
    let mut choices = Rolling::new();
    copy(client, "region", (0..3).map(|n| format!("{n}|{}|none", REGIONS[n])));
    copy(client, "nation", (0..6).map(|n| format!("{}|{}|{}|none", LETTERS[n], NATIONS[n], [0, 1, 0, 2, 2, 1][n])));
    let suppliers = (0..=WAREHOUSES * ITEMS).map(|n| {
        let nation = LETTERS[choices.below(6) as usize];
        let comment = ["good", "a bad one", "none"][choices.below(3) as usize];
        format!("{n}|Supplier {n:06}|street {}|{nation}|{}-555|{}.50|{comment}", n % 7, n % 9, n % 50)
    });
    copy(client, "supplier", suppliers.collect::<Vec<_>>().into_iter());
    let items = (1..=ITEMS).map(|n| {
        let (start, end) = (choices.below(4) as usize, choices.below(5) as usize);
        let data = format!("{}{}", ["PR", "co", "zz", "xy"][start], ["a", "b", "c", "bb", "d"][end]);
        format!("{n}|item {}|{}.{:02}|{data}|{n}", n % 40, 1 + n % 90, n % 100)
    });
    copy(client, "item", items.collect::<Vec<_>>().into_iter());
    let mut tables: [(&str, Vec<String>); 7] =
        ["warehouse", "district", "customer", "new_order", "oorder", "order_line", "stock"]
            .map(|name| (name, Vec::new()));
    for warehouse in 1..=WAREHOUSES {
        fill(&mut tables, warehouse, &mut choices);
    }
    for (name, rows) in tables {
        copy(client, name, rows.into_iter());
    }
    client.run("ANALYZE");
}

/// A warehouse's rows, in the order of the tables' names there.
fn fill(tables: &mut [(&str, Vec<String>); 7], w: u32, choices: &mut Rolling) {
    tables[0].1.push(format!("{w}|name {w}|CA|0.1{w}|{w}000.25"));
    for item in 1..=ITEMS {
        let quantity = 10 + choices.below(40);
        tables[6].1.push(format!("{w}|{item}|{quantity}|0.50|{}|data", choices.below(20)));
    }
    for d in 1..=DISTRICTS {
        tables[1].1.push(format!("{w}|{d}|d{d}|0.05|{ORDERS}"));
        for c in 1..=CUSTOMERS {
            let letter = char::from(LETTERS[choices.below(6) as usize]);
            let (phone, cents) = (choices.below(10), choices.below(100));
            let balance = i64::from(choices.below(900)) - 100;
            tables[2].1.push(format!(
                "{w}|{d}|{c}|BAR{}|GC|{balance}.{cents:02}|city {}|{letter}Z|{phone}23456|2006-05-05 00:00:00",
                c % 6,
                c % 3
            ));
        }
        for o in 1..=ORDERS {
            order(tables, [w, d, o], choices);
        }
    }
}

fn order(tables: &mut [(&str, Vec<String>); 7], [w, d, o]: [u32; 3], choices: &mut Rolling) {
    let (lines, year, day) = (1 + choices.below(8), 2006 + choices.below(5), 1 + choices.below(28));
    // One customer in five never orders.
    let customer = 1 + choices.below(CUSTOMERS * 4 / 5);
    let carrier = if o > ORDERS - 5 { "\\N".to_owned() } else { (1 + choices.below(10)).to_string() };
    tables[4].1.push(format!("{w}|{d}|{o}|{customer}|{carrier}|{lines}|{year}-03-{day:02} 10:00:00"));
    if o > ORDERS - 5 {
        tables[3].1.push(format!("{w}|{d}|{o}"));
    }
    for line in 1..=lines {
        let supply = if choices.below(10) == 0 { 1 + choices.below(WAREHOUSES) } else { w };
        let delivered = match choices.below(8) {
            0 => "\\N".to_owned(),
            more => format!("{}-0{}-{day:02} 11:00:00", year + more / 4, 2 + more % 3),
        };
        let (item, euros, cents) = (1 + choices.below(ITEMS), choices.below(200), choices.below(100));
        let quantity = 1 + choices.below(12);
        tables[5].1.push(format!("{w}|{d}|{o}|{line}|{item}|{delivered}|{euros}.{cents:02}|{supply}|{quantity}|info"));
    }
}

/// Choices without end, the same every time.
struct Rolling {
    of: Choices,
    seed: u64,
    left: u32,
}

impl Rolling {
    fn new() -> Rolling {
        Rolling { of: Choices::from_seed(0), seed: 0, left: 0 }
    }

    fn below(&mut self, bound: u32) -> u32 {
        if self.left == 0 {
            self.seed += 1;
            self.of = Choices::from_seed(self.seed);
            self.left = 300;
        }
        self.left -= 1;
        self.of.below(bound)
    }
}

/// The queries, in order.
pub fn queries() -> Vec<(Option<usize>, String)> {
    crate::suites::parse(include_str!("chbench.sql"))
}
