//! ClickBench's table, small, with rows of a fixed seed, and its queries.

use crate::choices::Choices;
use crate::client::Client;
use crate::tpch::copy;

/// Users' hits are on the shard of the user.
pub const CONFIG: &str = "[tables.hits]\nkey = \"userid\"\n";

/// The columns that the queries name, and a few more for `SELECT *`.
const SCHEMA: &str = "CREATE TABLE hits (watchid int8 NOT NULL, title text NOT NULL, eventtime timestamp NOT NULL, eventdate date NOT NULL, \
    counterid int4 NOT NULL, clientip int4 NOT NULL, regionid int4 NOT NULL, userid int8 NOT NULL, url text NOT NULL, referer text NOT NULL, \
    isrefresh int2 NOT NULL, resolutionwidth int2 NOT NULL, windowclientwidth int2 NOT NULL, windowclientheight int2 NOT NULL, \
    islink int2 NOT NULL, isdownload int2 NOT NULL, dontcounthits int2 NOT NULL, traficsourceid int2 NOT NULL, searchengineid int2 NOT NULL, \
    advengineid int2 NOT NULL, searchphrase text NOT NULL, mobilephone int2 NOT NULL, mobilephonemodel text NOT NULL, \
    urlhash int8 NOT NULL, refererhash int8 NOT NULL, flash char(3), params varchar(20))";

/// Rows of the table.
const ROWS: u32 = 4000;

/// Makes the table.
pub fn load(client: &mut Client) {
    client.run(SCHEMA);
    copy(client, "hits", (0..ROWS).map(row));
    client.run("ANALYZE");
}

/// One line of COPY's text format with `|` between columns.
fn row(number: u32) -> String {
    let mut choices = Choices::from_seed(u64::from(number) + 1);
    let mut below = |bound: u32| choices.below(bound);
    // Few users have many hits, and many have few.
    let user = match below(4) {
        0 => 435_090_932_899_640_449 + u64::from(below(3)),
        _ => 1 + u64::from(below(300)) * 7_777_777_777,
    };
    let host = ["google.com", "www.google.ru", "yandex.ru", "example.org", "maps.google.de"][below(5) as usize];
    let url = if below(15) == 0 { String::new() } else { format!("http://{host}/page/{}", below(40)) };
    let referer = if below(3) == 0 { String::new() } else { format!("https://www.{host}/from/{}", below(90)) };
    let title = ["Google Maps", "Новости", "Some Google page", "", "Zebra"][below(5) as usize];
    let phrase = ["", "", "cats", "погода", "Äpfel kaufen", "postgres sharding", "dogs"][below(7) as usize];
    let (day, hour, minute, second) = (1 + below(31), below(24), below(60), below(60));
    let model = ["", "", "iPhone 2", "Nokia"][below(4) as usize];
    let hashes = [2_868_770_270_353_813_622_i64, -5, 3_594_120_000_172_545_465];
    format!(
        "{}|{title}|2013-07-{day:02} {hour:02}:{minute:02}:{second:02}|2013-07-{day:02}|{}|{}|{}|{user}|{url}|{referer}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{phrase}|{}|{model}|{}|{}|{}|{}",
        i64::from(number) * 9_999_999_967 - 7,
        [62, 62, 7, 8][below(4) as usize],
        i64::from(below(200)) * 10_000_019 - 1_000_000_000,
        below(30),
        below(4) / 3,
        1000 + below(900),
        below(6) * 100,
        below(5) * 100,
        below(2),
        below(5) / 4,
        below(4) / 3,
        i64::from(below(8)) - 1,
        below(4),
        below(5) * below(2),
        below(9),
        hashes[below(3) as usize],
        hashes[below(3) as usize],
        ["\\N", "a", "bc "][below(3) as usize],
        ["\\N", "x", "яя"][below(3) as usize],
    )
}

/// The queries with the output column that they are ordered by, counted from 1.
pub fn queries() -> Vec<(Option<usize>, String)> {
    let sums: Vec<String> = (1..90).map(|n| format!("SUM(ResolutionWidth + {n})")).collect();
    let text = include_str!("clickbench.sql").replace("NINETY SUMS", &sums.join(", "));
    crate::suites::parse(&text)
}
