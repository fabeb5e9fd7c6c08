//! ShopMart, the sample data: its schema, and its rows as COPY text, the same every time.
//!
//! Rows are made from their numbers, so that a table is generated without the others and without memory. Callers:
//! `demo::load`, benchmarks.

mod copy_text;
mod random;
mod rows;
mod words;

use copy_text::CopyText;
use rows::Order;

/// Types and tables, statements separated by semicolons.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Foreign keys and indexes, for when the rows are there.
pub const CONSTRAINTS: &str = include_str!("constraints.sql");

/// Rows are handed out in blocks of about this size: large enough to cost few wake-ups, small enough for caches.
const BLOCK_BYTES: usize = 128 * 1024;

/// A table of the sample, in the order in which they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Reference.
    Countries,
    /// Reference.
    Products,
    /// Home.
    Settings,
    /// Sharded.
    Customers,
    /// Sharded.
    Orders,
    /// Sharded.
    OrderItems,
    /// Sharded.
    Payments,
    /// Sharded.
    Events,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 8] = [
        Table::Countries,
        Table::Products,
        Table::Settings,
        Table::Customers,
        Table::Orders,
        Table::OrderItems,
        Table::Payments,
        Table::Events,
    ];

    /// In SQL.
    pub fn name(self) -> &'static str {
        match self {
            Table::Countries => "countries",
            Table::Products => "products",
            Table::Settings => "settings",
            Table::Customers => "customers",
            Table::Orders => "orders",
            Table::OrderItems => "order_items",
            Table::Payments => "payments",
            Table::Events => "events",
        }
    }
}

/// How much data; the rows themselves follow from it.
#[derive(Clone, Debug)]
pub struct Sample {
    products: u64,
    /// Per customer, from the first: how many orders all customers before her have. One longer than there are customers.
    orders_before: Vec<u64>,
}

impl Sample {
    /// What the demo loads: 50,000 customers, 500,000 orders, 1.5 million items, 2,000 products.
    pub fn shop() -> Sample {
        Sample::of(50_000, 500_000, 2_000)
    }

    /// So many customers, orders and products; a customer has orders in proportion to [`rows::weight`].
    pub fn of(customers: u64, orders: u64, products: u64) -> Sample {
        let weights = (1..=customers).map(rows::weight);
        let total = weights.clone().sum::<u64>().max(1);
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum * orders / total)
        });
        Sample { products, orders_before: std::iter::once(0).chain(sums).collect() }
    }

    /// How many rows a table has.
    pub fn row_count(&self, table: Table) -> u64 {
        let orders = || self.customers().flat_map(|customer| self.orders_of(customer));
        match table {
            Table::Countries => words::COUNTRIES.len() as u64,
            Table::Products => self.products,
            Table::Settings => words::SETTINGS.len() as u64,
            Table::Customers => self.customers().end - 1,
            Table::Orders => self.orders_before.last().copied().unwrap_or_default(),
            Table::OrderItems => orders().map(Order::line_count).sum(),
            Table::Payments => orders().filter(|order| order.is_paid()).count() as u64,
            Table::Events => self.customers().map(|customer| self.event_count(customer)).sum(),
        }
    }

    /// A table's rows as blocks of COPY text, each with its number of rows.
    pub fn blocks(&self, table: Table) -> Blocks<'_> {
        Blocks { sample: self, table, next: 0, out: CopyText::default() }
    }

    /// Customers' numbers.
    fn customers(&self) -> std::ops::Range<u64> {
        1..self.orders_before.len() as u64
    }

    /// A customer's orders.
    fn orders_of(&self, customer: u64) -> impl Iterator<Item = Order> + use<> {
        let products = self.products;
        let bound = |index: u64| self.orders_before.get(index as usize).copied().unwrap_or_default();
        (bound(customer - 1)..bound(customer)).map(move |index| Order { customer, id: index + 1, products })
    }

    /// A customer's events: one, and some more if she buys a lot.
    fn event_count(&self, customer: u64) -> u64 {
        1 + self.orders_of(customer).size_hint().0 as u64 / 2
    }
}

/// A table's rows, block by block.
#[derive(Debug)]
pub struct Blocks<'s> {
    sample: &'s Sample,
    table: Table,
    /// From 0: the next row of a small table, the next customer of a sharded one.
    next: u64,
    out: CopyText,
}

impl Iterator for Blocks<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while self.out.len() < BLOCK_BYTES && self.step() {}
        let block = self.out.take();
        (!block.is_empty()).then_some(block)
    }
}

impl Blocks<'_> {
    /// Writes the next rows: one of a small table, a customer's of a sharded one. Says whether there was a next.
    fn step(&mut self) -> bool {
        let (index, id) = (self.next, self.next + 1);
        let last = match self.table {
            Table::Countries | Table::Products | Table::Settings => self.sample.row_count(self.table),
            Table::Customers | Table::Orders | Table::OrderItems | Table::Payments | Table::Events => {
                self.sample.customers().end - 1
            }
        };
        if id > last {
            return false;
        }
        self.next = id;
        let (sample, out) = (self.sample, &mut self.out);
        match self.table {
            Table::Countries => rows::country(out, index),
            Table::Products => rows::product(out, id),
            Table::Settings => rows::setting(out, index),
            Table::Customers => rows::customer(out, id),
            Table::Orders => sample.orders_of(id).for_each(|order| rows::order(out, order)),
            Table::OrderItems => sample.orders_of(id).for_each(|order| rows::items(out, order)),
            Table::Payments => sample.orders_of(id).for_each(|order| rows::payment(out, order)),
            Table::Events => (1..=sample.event_count(id)).for_each(|event| rows::event(out, id, event)),
        }
        true
    }
}

#[cfg(test)]
mod tests;
