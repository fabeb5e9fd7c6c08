-- Foreign keys and indexes come after the rows: checking and sorting all of them at once is several times faster.
-- A foreign key that contains customer_id, or leads to a reference table, never leaves its shard.

alter table customers add foreign key (country) references countries;
alter table orders add foreign key (customer_id) references customers;
alter table order_items add foreign key (customer_id, order_id) references orders on delete cascade;
alter table order_items add foreign key (product_id) references products;
alter table payments add foreign key (customer_id, order_id) references orders;
alter table events add foreign key (customer_id) references customers;

create index customers_email on customers (email);
create index orders_placed on orders (placed_at);
create index order_items_product on order_items (product_id);
create index payments_order on payments (customer_id, order_id);
create index events_at on events (at);
