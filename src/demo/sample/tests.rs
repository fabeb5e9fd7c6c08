//! Tests of the sample data: deterministic, consistent, and as COPY wants it.

#![allow(clippy::unwrap_used)]
use std::collections::HashMap;

use super::*;

/// A small shop's table, as rows of fields.
fn table(sample: &Sample, table: Table) -> Vec<Vec<String>> {
    let text: Vec<u8> = sample.blocks(table).flatten().collect();
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn small() -> Sample {
    Sample::of(500, 5_000, 40)
}

fn hundredths(text: &str) -> u64 {
    text.replace('.', "").parse().unwrap()
}

#[test]
fn the_shop_is_as_large_as_promised() {
    let shop = Sample::shop();
    assert_eq!(shop.row_count(Table::Customers), 50_000);
    assert_eq!(shop.row_count(Table::Orders), 500_000);
    assert!(shop.row_count(Table::OrderItems) >= 1_500_000, "{}", shop.row_count(Table::OrderItems));
}

#[test]
fn every_table_has_the_rows_it_announces_and_every_row_the_columns_of_the_schema() {
    let sample = small();
    for kind in Table::ALL {
        let rows = table(&sample, kind);
        assert_eq!(rows.len() as u64, sample.row_count(kind), "{}", kind.name());
        let definition = SCHEMA.split_once(&format!("create table {} (", kind.name())).unwrap().1;
        let definition = definition.split_once("\n);").unwrap().0;
        let columns = definition.lines().filter(|line| line.len() > 4 && !line.contains("primary key (")).count();
        assert!(rows.iter().all(|row| row.len() == columns), "{} has {columns} columns", kind.name());
    }
}

#[test]
fn the_rows_are_the_same_every_time() {
    for kind in Table::ALL {
        assert_eq!(table(&small(), kind), table(&small(), kind));
    }
    // A change of this line is a change of the sample data.
    let rows = table(&small(), Table::Customers);
    assert_eq!(
        rows[6].join("|"),
        "7|priya.angstrom7@example.com|Priya Ångström|KR|1982-09-07|f|14000.00|{}|2025-06-09 14:29:22+00|ring twice"
    );
}

#[test]
fn an_orders_total_is_the_sum_of_its_items() {
    let sample = small();
    let mut sums: HashMap<String, u64> = HashMap::new();
    for item in table(&sample, Table::OrderItems) {
        *sums.entry(item[1].clone()).or_default() += item[4].parse::<u64>().unwrap() * hundredths(&item[5]);
    }
    for order in table(&sample, Table::Orders) {
        assert_eq!(sums[&order[1]], hundredths(&order[5]), "order {}", order[1]);
    }
}

#[test]
fn items_cost_what_the_product_costs() {
    let sample = small();
    let prices: HashMap<String, String> =
        table(&sample, Table::Products).into_iter().map(|row| (row[0].clone(), row[4].clone())).collect();
    assert!(table(&sample, Table::OrderItems).iter().all(|item| prices[&item[3]] == item[5]));
}

#[test]
fn a_payment_is_of_its_customers_own_order() {
    let sample = small();
    let owners: HashMap<String, String> =
        table(&sample, Table::Orders).into_iter().map(|row| (row[1].clone(), row[0].clone())).collect();
    assert!(table(&sample, Table::Payments).iter().all(|payment| owners[&payment[2]] == payment[0]));
}

#[test]
fn a_few_customers_buy_far_more_than_most() {
    let sample = Sample::shop();
    let mut counts: Vec<usize> = sample.customers().map(|customer| sample.orders_of(customer).count()).collect();
    counts.sort_unstable();
    let (median, most) = (counts[counts.len() / 2], counts[counts.len() - 1]);
    assert!(most > 200 * median.max(1), "median {median}, most {most}");
}

#[test]
fn there_are_nulls_and_letters_beyond_ascii() {
    let rows = table(&small(), Table::Customers);
    assert!(rows.iter().any(|row| row[4] == "\\N"));
    assert!(rows.iter().any(|row| !row[2].is_ascii()));
}
