//! What names, places and things in the sample data are made of. Not all of it is ASCII: it is not in real life.

/// A row of `countries`.
#[derive(Debug)]
pub struct Country {
    /// ISO 3166-1 alpha-2.
    pub code: &'static str,
    /// In its own language.
    pub name: &'static str,
    /// ISO 4217.
    pub currency: &'static str,
    /// Value added tax in hundredths of a percent, roughly.
    pub vat: u64,
    /// Member of the European Union.
    pub in_eu: bool,
}

const fn country(code: &'static str, name: &'static str, currency: &'static str, vat: u64, in_eu: bool) -> Country {
    Country { code, name, currency, vat, in_eu }
}

/// Countries with customers; the first ones have the most.
pub const COUNTRIES: [Country; 32] = [
    country("DE", "Deutschland", "EUR", 1900, true),
    country("FR", "France", "EUR", 2000, true),
    country("US", "United States", "USD", 0, false),
    country("GB", "United Kingdom", "GBP", 2000, false),
    country("PL", "Polska", "PLN", 2300, true),
    country("ES", "España", "EUR", 2100, true),
    country("IT", "Italia", "EUR", 2200, true),
    country("NL", "Nederland", "EUR", 2100, true),
    country("AT", "Österreich", "EUR", 2000, true),
    country("CH", "Schweiz", "CHF", 810, false),
    country("SE", "Sverige", "SEK", 2500, true),
    country("DK", "Danmark", "DKK", 2500, true),
    country("NO", "Norge", "NOK", 2500, false),
    country("FI", "Suomi", "EUR", 2550, true),
    country("CZ", "Česko", "CZK", 2100, true),
    country("SK", "Slovensko", "EUR", 2300, true),
    country("HU", "Magyarország", "HUF", 2700, true),
    country("RO", "România", "RON", 1900, true),
    country("BG", "България", "EUR", 2000, true),
    country("GR", "Ελλάδα", "EUR", 2400, true),
    country("PT", "Portugal", "EUR", 2300, true),
    country("IE", "Éire", "EUR", 2300, true),
    country("IS", "Ísland", "ISK", 2400, false),
    country("LT", "Lietuva", "EUR", 2100, true),
    country("LV", "Latvija", "EUR", 2100, true),
    country("EE", "Eesti", "EUR", 2400, true),
    country("TR", "Türkiye", "TRY", 2000, false),
    country("JP", "日本", "JPY", 1000, false),
    country("KR", "대한민국", "KRW", 1000, false),
    country("IN", "भारत", "INR", 1800, false),
    country("BR", "Brasil", "BRL", 1700, false),
    country("CA", "Canada", "CAD", 500, false),
];

/// First names, with the form that an e-mail address takes.
pub const FIRST_NAMES: [(&str, &str); 24] = [
    ("Anna", "anna"),
    ("Zoë", "zoe"),
    ("Łukasz", "lukasz"),
    ("Søren", "soren"),
    ("Marie", "marie"),
    ("José", "jose"),
    ("Ayşe", "ayse"),
    ("Jiří", "jiri"),
    ("Élodie", "elodie"),
    ("Paul", "paul"),
    ("Ólafur", "olafur"),
    ("Μαρία", "maria"),
    ("Иван", "ivan"),
    ("花子", "hanako"),
    ("민준", "minjun"),
    ("Priya", "priya"),
    ("Noah", "noah"),
    ("Emma", "emma"),
    ("Björn", "bjorn"),
    ("Chloé", "chloe"),
    ("Tomás", "tomas"),
    ("Ines", "ines"),
    ("Mikael", "mikael"),
    ("Sean", "sean"),
];

/// Last names, likewise.
pub const LAST_NAMES: [(&str, &str); 24] = [
    ("Müller", "mueller"),
    ("O'Brien", "obrien"),
    ("Nowak", "nowak"),
    ("Dvořák", "dvorak"),
    ("García", "garcia"),
    ("Ångström", "angstrom"),
    ("Smith", "smith"),
    ("Lefèvre", "lefevre"),
    ("Rossi", "rossi"),
    ("van der Berg", "vdberg"),
    ("Kovács", "kovacs"),
    ("Yılmaz", "yilmaz"),
    ("Παπαδόπουλος", "papadopoulos"),
    ("Петров", "petrov"),
    ("山田", "yamada"),
    ("김", "kim"),
    ("Sharma", "sharma"),
    ("Hansen", "hansen"),
    ("Virtanen", "virtanen"),
    ("Jónsdóttir", "jonsdottir"),
    ("Schmidt", "schmidt"),
    ("Silva", "silva"),
    ("Weiß", "weiss"),
    ("Dupont", "dupont"),
];

/// Categories of products.
pub const CATEGORIES: [&str; 8] = ["kitchen", "garden", "books", "toys", "sports", "office", "clothing", "electronics"];

/// What products are like.
pub const ADJECTIVES: [&str; 12] = [
    "Blue", "Folding", "Cordless", "Crème", "Wireless", "Organic", "Mini", "Deluxe", "Reusable", "Vintage", "Süßes",
    "Smart",
];

/// What products are.
pub const NOUNS: [&str; 16] = [
    "kettle",
    "lamp",
    "notebook",
    "racket",
    "jacket",
    "drone",
    "puzzle",
    "shovel",
    "café press",
    "backpack",
    "charger",
    "chair",
    "mug",
    "tent",
    "keyboard",
    "scarf",
];

/// Tags of products, as the inside of an array.
pub const TAGS: [&str; 6] = ["", "new", "sale,outlet", "eco", "eco,\"best seller\"", "fragile"];

/// How customers pay.
pub const METHODS: [&str; 5] = ["card", "paypal", "invoice", "sepa", "gift card"];

/// What customers say.
pub const NOTES: [&str; 6] =
    ["please wrap it", "leave at the door", "für Oma", "ring twice", "cadeau d’anniversaire", "fragile!"];

/// What customers do.
pub const EVENTS: [&str; 6] = ["login", "view", "search", "add_to_cart", "checkout", "support"];

/// Rows of `settings`.
pub const SETTINGS: [(&str, Option<&str>); 6] = [
    ("shop.name", Some("ShopMart")),
    ("shop.motto", Some("Alles für alle – и это не шутка")),
    ("shipping.free_from", Some("49.00")),
    ("returns.days", Some("30")),
    ("banner.text", None),
    ("currency.default", Some("EUR")),
];
