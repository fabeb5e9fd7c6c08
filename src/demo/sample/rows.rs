//! One row of each table, from its number alone: the same number gives the same row, and rows of different tables agree
//! (an order's total is the sum of its items) without any of them being kept in memory.

use super::copy_text::{CopyText, DAY};
use super::random::Random;
use super::words::{
    ADJECTIVES, CATEGORIES, COUNTRIES, Country, EVENTS, FIRST_NAMES, LAST_NAMES, METHODS, NOTES, NOUNS, SETTINGS, TAGS,
};

/// 2022-01-01 in seconds since 1970: the shop opens.
const OPENED: u64 = 1_640_995_200;
/// 2026-07-01: the sample was taken.
const TAKEN: u64 = 1_782_864_000;

/// Sequences of random numbers, one per kind of thing. Changing one changes the sample data.
mod kind {
    pub const CUSTOMER: u64 = 1;
    pub const ORDER: u64 = 2;
    pub const LINES: u64 = 3;
    pub const PRODUCT: u64 = 4;
    pub const PAYMENT: u64 = 5;
    pub const EVENT: u64 = 6;
    pub const WEIGHT: u64 = 7;
}

/// `order_status`, in the order of the enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Cart,
    Placed,
    Paid,
    Shipped,
    Delivered,
    Returned,
    Cancelled,
}

/// An order, as far as other tables must agree with it.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Whose.
    pub customer: u64,
    /// Unique over all customers, from 1.
    pub id: u64,
    /// Products there are to choose from.
    pub products: u64,
}

/// How much a customer buys in comparison with others: half of them 4 to 8, a quarter twice that, and so on. A few are
/// five hundred times as busy as most, as in any real shop.
pub fn weight(customer: u64) -> u64 {
    let mut random = Random::of(kind::WEIGHT, customer);
    let level = random.next().trailing_zeros().min(11);
    (4 + random.below(5)) << level
}

/// A row of `countries`; `index` from 0.
pub fn country(out: &mut CopyText, index: u64) {
    if let Some(Country { code, name, currency, vat, in_eu }) = COUNTRIES.get(index as usize) {
        out.text(code).text(name).text(currency).money(*vat).boolean(*in_eu);
        out.end_row();
    }
}

/// A row of `settings`; `index` from 0.
pub fn setting(out: &mut CopyText, index: u64) {
    if let Some((name, value)) = SETTINGS.get(index as usize) {
        out.text(name);
        match value {
            Some(value) => out.text(value),
            None => out.null(),
        };
        out.timestamp(OPENED);
        out.end_row();
    }
}

/// A row of `products`; `id` from 1.
pub fn product(out: &mut CopyText, id: u64) {
    let mut random = Random::of(kind::PRODUCT, id);
    out.integer(id).field().raw("SKU-").padded(id, 6);
    out.text(one(&mut random, &ADJECTIVES)).raw(" ").raw(one(&mut random, &NOUNS)).text(one(&mut random, &CATEGORIES));
    out.money(price(id));
    if random.chance(15) {
        out.null()
    } else {
        out.integer(20 + random.below(9_000))
    };
    out.text("{").raw(one(&mut random, &TAGS)).raw("}");
    out.boolean(random.chance(5)).date((OPENED / DAY) - random.below(1_500));
    out.end_row();
}

/// A row of `customers`; `id` from 1.
pub fn customer(out: &mut CopyText, id: u64) {
    let mut random = Random::of(kind::CUSTOMER, id);
    let (first, first_ascii) = random.pick(&FIRST_NAMES).copied().unwrap_or_default();
    let (last, last_ascii) = random.pick(&LAST_NAMES).copied().unwrap_or_default();
    out.integer(id).text(first_ascii).raw(".").raw(last_ascii).digits(id).raw("@example.com");
    out.text(first).raw(" ").raw(last).text(country_of(id).code);
    if random.chance(20) {
        out.null()
    } else {
        out.date(random.below(13_000))
    };
    out.boolean(weight(id) >= 256);
    if random.chance(30) {
        out.null()
    } else {
        out.money(50_000 + 10_000 * random.below(200))
    };
    match random.below(4) {
        0 => out.null(),
        1 => out.text("{}"),
        _ => {
            out.text("{+").digits(random.below(10_000_000_000)).raw(",\"00 ").digits(random.below(1_000_000)).raw("\"}")
        }
    };
    out.timestamp(joined(id));
    if random.chance(85) {
        out.null()
    } else {
        out.text(one(&mut random, &NOTES))
    };
    out.end_row();
}

/// A row of `orders`.
pub fn order(out: &mut CopyText, order: Order) {
    let mut random = Random::of(kind::ORDER, order.id);
    let (placed_at, status) = order.fate();
    random.next();
    out.integer(order.customer).integer(order.id).text(status.label()).timestamp(placed_at);
    match status {
        Status::Shipped | Status::Delivered | Status::Returned => out.date(placed_at / DAY + 1 + random.below(4)),
        Status::Cart | Status::Placed | Status::Paid | Status::Cancelled => out.null(),
    };
    out.money(order.total()).text(country_of(order.customer).currency).boolean(random.chance(6));
    if random.chance(90) {
        out.null()
    } else {
        out.text("{SAVE").digits(5 + 5 * random.below(4)).raw("}")
    };
    out.end_row();
}

/// The rows of `order_items` of an order.
pub fn items(out: &mut CopyText, order: Order) {
    for (line, item) in (1..).zip(order.lines()) {
        out.integer(order.customer).integer(order.id).integer(line);
        out.integer(item.product).integer(item.quantity).money(price(item.product));
        if item.note < NOTES.len() {
            out.text(one_at(&NOTES, item.note))
        } else {
            out.null()
        };
        out.end_row();
    }
}

/// The row of `payments` of an order, if it was paid.
pub fn payment(out: &mut CopyText, order: Order) {
    if !order.is_paid() {
        return;
    }
    let mut random = Random::of(kind::PAYMENT, order.id);
    let (placed_at, status) = order.fate();
    out.integer(order.customer).uuid(random.next(), random.next()).integer(order.id).text(one(&mut random, &METHODS));
    out.money(order.total()).timestamp(placed_at + random.below(7_200));
    match random.below(5) {
        0 => out.null(),
        days => {
            out.field().digits(days).raw(" days 0").digits(random.below(10)).raw(":30:").padded(random.below(60), 2)
        }
    };
    // COPY reads two backslashes as one; bytea's hexadecimal form begins with one.
    if random.chance(25) {
        out.null()
    } else {
        out.text("\\\\x").hex(random.next(), 16).hex(random.next(), 8)
    };
    out.boolean(status == Status::Returned);
    out.end_row();
}

/// A row of `events`; `id` from 1 for each customer.
pub fn event(out: &mut CopyText, customer: u64, id: u64) {
    let mut random = Random::of(kind::EVENT, customer << 20 | id);
    let since = joined(customer);
    out.integer(customer).integer(id).timestamp(since + random.below(TAKEN - since));
    match random.below(10) {
        0 => out.null(),
        1 => out.text("2001:db8::").hex(random.below(0xffff), 4),
        _ => out.text("10.").digits(random.below(256)).raw(".").digits(random.below(256)).raw(".7"),
    };
    out.text("{\"kind\": \"").raw(one(&mut random, &EVENTS)).raw("\", \"ms\": ").digits(random.below(3_000));
    match random.below(4) {
        0 => out.raw(", \"query\": \"").raw(one(&mut random, &NOUNS)).raw("\"}"),
        1 => out.raw(", \"product\": ").digits(1 + random.below(2_000)).raw(", \"tags\": [\"neu\", \"größe M\"]}"),
        2 => out.raw(", \"referrer\": null}"),
        _ => out.raw("}"),
    };
    out.end_row();
}

impl Order {
    /// How many items it has.
    pub fn line_count(self) -> u64 {
        // 3.1 on average.
        const COUNTS: [u64; 10] = [1, 1, 2, 2, 3, 3, 4, 4, 5, 6];
        Random::of(kind::LINES, self.id).pick(&COUNTS).copied().unwrap_or(1)
    }

    /// Whether there is a payment for it.
    pub fn is_paid(self) -> bool {
        match self.fate().1 {
            Status::Paid | Status::Shipped | Status::Delivered | Status::Returned => true,
            Status::Cart | Status::Placed | Status::Cancelled => false,
        }
    }

    /// Its items.
    fn lines(self) -> impl Iterator<Item = Line> {
        let mut random = Random::of(kind::LINES, self.id);
        random.next();
        (0..self.line_count()).map(move |_| {
            // The first products sell far better than the last.
            let product = 1 + random.skewed(self.products);
            Line { product, quantity: 1 + random.below(4) * random.below(2), note: random.below(120) as usize }
        })
    }

    /// In hundredths.
    fn total(self) -> u64 {
        self.lines().map(|line| line.quantity * price(line.product)).sum()
    }

    /// When it was placed and what became of it since.
    fn fate(self) -> (u64, Status) {
        let mut random = Random::of(kind::ORDER, self.id);
        let since = joined(self.customer);
        let placed_at = since + random.below(TAKEN - since);
        let status = match ((TAKEN - placed_at) / DAY, random.below(100)) {
            (_, 0..4) => Status::Cancelled,
            (0..4, 4..40) => Status::Cart,
            (0..4, _) => Status::Placed,
            (4..8, _) => Status::Paid,
            (8..14, _) => Status::Shipped,
            (_, 4..12) => Status::Returned,
            (_, _) => Status::Delivered,
        };
        (placed_at, status)
    }
}

/// An item of an order.
struct Line {
    product: u64,
    quantity: u64,
    /// Index into [`NOTES`], mostly beyond it.
    note: usize,
}

impl Status {
    fn label(self) -> &'static str {
        match self {
            Status::Cart => "cart",
            Status::Placed => "placed",
            Status::Paid => "paid",
            Status::Shipped => "shipped",
            Status::Delivered => "delivered",
            Status::Returned => "returned",
            Status::Cancelled => "cancelled",
        }
    }
}

/// Price of a product in hundredths.
fn price(product: u64) -> u64 {
    199 + 50 * Random::of(kind::PRODUCT, product << 32).below(800)
}

/// When a customer came to the shop.
fn joined(customer: u64) -> u64 {
    OPENED + Random::of(kind::CUSTOMER, customer << 32).below(TAKEN - OPENED - 30 * DAY)
}

/// Where a customer lives: mostly in the first countries of the list.
fn country_of(customer: u64) -> &'static Country {
    let mut random = Random::of(kind::CUSTOMER, customer << 33);
    let index = random.skewed(COUNTRIES.len() as u64);
    COUNTRIES.get(index as usize).unwrap_or(&COUNTRIES[0])
}

fn one(random: &mut Random, of: &[&'static str]) -> &'static str {
    random.pick(of).copied().unwrap_or_default()
}

fn one_at(of: &[&'static str], index: usize) -> &'static str {
    of.get(index).copied().unwrap_or_default()
}
