-- ShopMart, a retailer. Tables with customer_id are sharded by it, so a customer and everything of hers is on one shard;
-- countries and products are reference tables, whole on every shard; settings lives on the home shard.

create type order_status as enum ('cart', 'placed', 'paid', 'shipped', 'delivered', 'returned', 'cancelled');

create table countries (
    code      char(2) primary key,
    name      text not null,
    currency  char(3) not null,
    vat_rate  numeric(4,2) not null,
    in_eu     boolean not null
);

create table products (
    product_id    integer primary key,
    sku           text not null unique,
    name          text not null,
    category      text not null,
    price         numeric(10,2) not null check (price > 0),
    weight_grams  integer,
    tags          text[] not null default '{}',
    discontinued  boolean not null default false,
    added_on      date not null
);

create table settings (
    name        text primary key,
    value       text,
    changed_at  timestamptz not null default now()
);

create table customers (
    customer_id   bigint primary key,
    email         text not null,
    full_name     text not null,
    country       char(2) not null,
    birthday      date,
    vip           boolean not null default false,
    credit_limit  numeric(12,2),
    phones        text[],
    created_at    timestamptz not null default now(),
    notes         text
);

create table orders (
    customer_id  bigint not null,
    order_id     bigint not null,
    status       order_status not null default 'cart',
    placed_at    timestamptz not null default now(),
    shipped_on   date,
    total        numeric(12,2) not null default 0,
    currency     char(3) not null,
    gift         boolean not null default false,
    coupons      text[],
    primary key (customer_id, order_id)
);

create table order_items (
    customer_id  bigint not null,
    order_id     bigint not null,
    line_no      smallint not null,
    product_id   integer not null,
    quantity     integer not null check (quantity > 0),
    unit_price   numeric(10,2) not null,
    note         text,
    primary key (customer_id, order_id, line_no)
);

create table payments (
    customer_id    bigint not null,
    payment_id     uuid not null default gen_random_uuid(),
    order_id       bigint not null,
    method         text not null,
    amount         numeric(12,2) not null,
    paid_at        timestamptz not null default now(),
    settled_after  interval,
    receipt        bytea,
    refunded       boolean not null default false,
    primary key (customer_id, payment_id)
);

create table events (
    customer_id  bigint not null,
    event_id     bigint not null,
    at           timestamptz not null default now(),
    ip           inet,
    payload      jsonb not null,
    primary key (customer_id, event_id)
);
