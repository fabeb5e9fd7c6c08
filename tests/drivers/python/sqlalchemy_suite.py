"""SQLAlchemy: ORM session, Core, reflection, through psycopg and through asyncpg; models keyed by customer_id."""

import asyncio
import datetime as dt
import sys
import uuid
from decimal import Decimal
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, INTERVAL, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship, selectinload

import suite
from suite import equal, raises, refusal, test, true

KEYS = list(range(1, 33))


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "sqlalchemy_customers"
    customer_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(sa.String(50))
    joined: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", cascade="all, delete-orphan")


class Order(Base):
    __tablename__ = "sqlalchemy_orders"
    customer_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(Customer.customer_id), primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    total: Mapped[Decimal] = mapped_column(sa.Numeric(12, 2))
    tags: Mapped[Optional[list[str]]] = mapped_column(ARRAY(sa.Text))
    body: Mapped[Optional[dict]] = mapped_column(JSONB)
    blob: Mapped[Optional[bytes]] = mapped_column(BYTEA)
    took: Mapped[Optional[dt.timedelta]] = mapped_column(INTERVAL)
    day: Mapped[Optional[dt.date]]
    paid: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(nullable=False)
    customer: Mapped[Customer] = relationship(back_populates="orders")
    __mapper_args__ = {"version_id_col": version}
    __table_args__ = (sa.Index("sqlalchemy_orders_day", "customer_id", "day"), sa.CheckConstraint("total >= 0", name="sqlalchemy_total"))


class Setting(Base):
    __tablename__ = "sqlalchemy_settings"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Optional[str]]


def sqlstate_of(error):
    """The SQLSTATE under SQLAlchemy's wrapping."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def refused(sqlstate):
    return raises(sqlstate, sqlstate_of)


def order(key, total, **more):
    return Order(customer_id=key, total=Decimal(total), **more)


def fill(session):
    """Every key has a customer, each in a transaction of its own."""
    for key in KEYS:
        session.add(Customer(customer_id=key, name=f"c{key}"))
        session.commit()


# Left behind when the inspector's test fails.
DROP_VIEW = sa.text("DROP VIEW IF EXISTS sqlalchemy_paid")


# The tests are written for a synchronous engine; with asyncpg they run under `run_sync`, which is how
# SQLAlchemy itself bridges the two.
def with_session(url, work):
    """Runs work(session) on fresh tables."""
    if "+asyncpg" in url:

        async def go():
            engine = create_async_engine(url)
            async with engine.begin() as conn:
                await conn.execute(DROP_VIEW)
                await conn.run_sync(Base.metadata.drop_all)
                await conn.run_sync(Base.metadata.create_all)
            async with AsyncSession(engine) as session:
                await session.run_sync(work)
            await engine.dispose()

        asyncio.run(go())
    else:
        engine = sa.create_engine(url)
        with engine.begin() as conn:
            conn.execute(DROP_VIEW)
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            work(session)
        engine.dispose()


def with_connection(url, work, **options):
    """Runs work(connection)."""
    if "+asyncpg" in url:

        async def go():
            engine = create_async_engine(url, **options)
            async with engine.connect() as conn:
                await conn.run_sync(work)
            await engine.dispose()

        asyncio.run(go())
    else:
        engine = sa.create_engine(url, **options)
        with engine.connect() as conn:
            work(conn)
        engine.dispose()


@test("connect with application_name and timezone")
def _(url):
    settings = {"application_name": "drivers-sqlalchemy", "timezone": "Asia/Tokyo"}
    arguments = {"server_settings": settings} if "+asyncpg" in url else {"application_name": settings["application_name"], "options": "-c timezone=Asia/Tokyo"}

    def work(conn):
        for name, value in settings.items():
            equal(conn.scalar(sa.select(sa.func.current_setting(name))), value)
        equal(conn.dialect.default_schema_name, "public")

    with_connection(url, work, connect_args=arguments, pool_pre_ping=True)


@test("create_all, drop_all and create_all again")
def _(url):
    with_session(url, lambda session: None)
    with_session(url, lambda session: equal(session.scalars(sa.select(Order)).all(), []))


@test("unit of work: insert, refresh, update, delete, cascade")
def _(url):
    def work(session):
        for key in KEYS:
            customer = Customer(customer_id=key, name=f"c{key}", orders=[order(key, n) for n in range(4)])
            session.add(customer)
            session.commit()
            session.refresh(customer)
            true(customer.joined.tzinfo is not None, "joined has a zone")
            customer.orders[0].total = Decimal("99.50")
            customer.orders.pop(3 if customer.orders[3].total != Decimal("99.50") else 2)
            session.commit()
        for key in KEYS:
            got = session.scalars(sa.select(Order.total).where(Order.customer_id == key).order_by(Order.total)).all()
            equal(len(got), 3, f"key {key}")
            equal(got[-1], Decimal("99.50"))
        session.delete(session.get(Customer, 3))
        session.commit()
        equal(session.get(Customer, 3), None)
        equal(session.scalars(sa.select(Order).where(Order.customer_id == 3)).all(), [])

    with_session(url, work)


@test("types go in and come back")
def _(url):
    def work(session):
        fill(session)
        values = dict(
            tags=["a", 'q"uo,te', ""], body={"a": [1, None], "ü": {"x": True}}, blob=bytes(range(256)),
            took=dt.timedelta(days=3, microseconds=7), day=dt.date(2024, 2, 29), paid=True,
        )
        for key in KEYS:
            for given in (values, dict.fromkeys(("tags", "body", "blob", "took", "day"))):
                added = order(key, "12345.67", **given)
                session.add(added)
                session.commit()
                session.expire_all()
                for name, value in given.items():
                    equal(getattr(added, name), value, name)
                equal(added.total, Decimal("12345.67"))

    with_session(url, work)


@test("relationships: lazy, selectin and joined loading by key")
def _(url):
    def work(session):
        fill(session)
        for key in KEYS:
            session.add_all([order(key, n) for n in range(3)])
            session.commit()
        for key in KEYS[:8]:
            session.expunge_all()
            equal(len(session.get(Customer, key).orders), 3, "lazy")
            for how in (selectinload, joinedload):
                session.expunge_all()
                found = session.execute(sa.select(Customer).where(Customer.customer_id == key).options(how(Customer.orders)))
                equal(len(found.unique().scalar_one().orders), 3, how.__name__)
            joined = sa.select(Customer.name, sa.func.sum(Order.total)).join(
                Order, Order.customer_id == Customer.customer_id
            ).where(Customer.customer_id == key).group_by(Customer.name)
            equal(session.execute(joined).all(), [(f"c{key}", Decimal(3))])

    with_session(url, work)


@test("rollback, savepoints, errors and the session afterwards")
def _(url):
    def work(session):
        fill(session)
        session.add(order(5, 1))
        session.flush()
        try:
            with session.begin_nested():
                session.add(order(5, -1))
                session.flush()
            raise AssertionError("the check constraint let it pass")
        except sa.exc.IntegrityError as error:
            equal(sqlstate_of(error), "23514")
        with session.begin_nested():
            session.add(order(5, 2))
        session.commit()
        session.add(order(5, 3))
        session.rollback()
        got = session.scalars(sa.select(Order.total).where(Order.customer_id == 5).order_by(Order.total)).all()
        equal(got, [1, 2])
        session.add(Customer(customer_id=5, name="again"))
        with refused("23505"):
            session.commit()
        session.rollback()
        session.add(Order(customer_id=999, total=Decimal(1)))
        with refused("23503"):
            session.commit()
        session.rollback()
        equal(session.scalar(sa.select(sa.literal(1))), 1)

    with_session(url, work)


@test("optimistic locking by a version column")
def _(url):
    def work(session):
        fill(session)
        mine = order(7, 1)
        session.add(mine)
        session.commit()
        session.refresh(mine)
        session.execute(sa.update(Order).where(Order.customer_id == 7).values(version=Order.version + 1), execution_options={"synchronize_session": False})
        mine.total = Decimal(2)
        try:
            session.flush()
            raise AssertionError("stale data was not seen")
        except sa.orm.exc.StaleDataError:
            session.rollback()

    with_session(url, work)


@test("bulk insert of one key, RETURNING, upsert, FOR UPDATE")
def _(url):
    def work(session):
        fill(session)
        rows = [{"customer_id": 9, "id": uuid.uuid4(), "total": n, "version": 1} for n in range(300)]
        got = session.scalars(sa.insert(Order).returning(Order.id, sort_by_parameter_order=True), rows).all()
        equal(got, [row["id"] for row in rows])
        session.commit()
        for key in KEYS[:8]:
            upsert = insert(Customer).values(customer_id=key, name="new")
            upsert = upsert.on_conflict_do_update(index_elements=[Customer.customer_id], set_={"name": upsert.excluded.name + "!"})
            equal(session.scalar(upsert.returning(Customer.name)), "new!")
            session.commit()
        locked = session.scalars(sa.select(Order).where(Order.customer_id == 9, Order.total < 5).with_for_update()).all()
        equal(len(locked), 5)
        session.execute(sa.delete(Order).where(Order.customer_id == 9))
        session.commit()
        equal(session.scalar(sa.select(sa.func.count()).select_from(Order).where(Order.customer_id == 9)), 0)

    with_session(url, work)


@test("identity map over many keys, statements re-used")
def _(url):
    def work(session):
        fill(session)
        for _ in range(6):
            session.expunge_all()
            for key in KEYS:
                equal(session.get(Customer, key).name, f"c{key}")

    with_session(url, work)


@test("rows of all shards, streamed and whole")
def _(url):
    def work(session):
        fill(session)
        equal(sorted(session.scalars(sa.select(Customer.customer_id))), KEYS)
        some = session.scalars(sa.select(Customer.customer_id).where(Customer.customer_id.in_(KEYS[::5])))
        equal(sorted(some), KEYS[::5])

    with_session(url, work)


@test("home tables")
def _(url):
    def work(session):
        session.add_all([Setting(name=f"n{n}", value=str(n)) for n in range(10)])
        session.commit()
        equal(session.scalars(sa.select(Setting.value).order_by(Setting.name.desc()).limit(2)).all(), ["9", "8"])
        equal(session.scalar(sa.select(sa.func.count()).select_from(Setting)), 10)

    with_session(url, work)


@test("inspector: tables, columns, keys, indexes, constraints, views")
def _(url):
    def work(session):
        conn = session.connection()
        conn.execute(sa.text("CREATE VIEW sqlalchemy_paid AS SELECT customer_id, id FROM sqlalchemy_orders WHERE paid"))
        session.commit()
        conn = session.connection()
        inspector = sa.inspect(conn)
        names = [name for name in inspector.get_table_names() if name.startswith("sqlalchemy_")]
        equal(sorted(names), ["sqlalchemy_customers", "sqlalchemy_orders", "sqlalchemy_settings"])
        true("sqlalchemy_paid" in inspector.get_view_names(), "view")
        columns = {c["name"]: c for c in inspector.get_columns("sqlalchemy_orders")}
        equal(list(columns), ["customer_id", "id", "total", "tags", "body", "blob", "took", "day", "paid", "version"])
        equal(str(columns["total"]["type"]), "NUMERIC(12, 2)")
        equal(columns["total"]["nullable"], False)
        equal(inspector.get_pk_constraint("sqlalchemy_orders")["constrained_columns"], ["customer_id", "id"])
        equal([f["referred_table"] for f in inspector.get_foreign_keys("sqlalchemy_orders")], ["sqlalchemy_customers"])
        equal([i["column_names"] for i in inspector.get_indexes("sqlalchemy_orders")], [["customer_id", "day"]])
        equal([c["name"] for c in inspector.get_check_constraints("sqlalchemy_orders")], ["sqlalchemy_total"])
        equal(inspector.get_unique_constraints("sqlalchemy_orders"), [])
        inspector.get_table_comment("sqlalchemy_orders")
        true("public" in inspector.get_schema_names(), "schemas")
        reflected = sa.MetaData()
        reflected.reflect(conn, only=lambda name, _: name.startswith("sqlalchemy_"))
        equal(sorted(reflected.tables), ["sqlalchemy_customers", "sqlalchemy_orders", "sqlalchemy_settings"])
        session.commit()
        session.execute(DROP_VIEW)
        session.commit()

    with_session(url, work)


@test("AUTOCOMMIT and other isolation levels; the pool gives clean connections")
def _(url):
    def autocommit(conn):
        conn.execution_options(isolation_level="AUTOCOMMIT")
        conn.execute(sa.text("SELECT 1"))
        true(conn.get_isolation_level() in ("AUTOCOMMIT", "READ COMMITTED"), conn.get_isolation_level())

    with_connection(url, autocommit)

    def serializable(conn):
        equal(conn.scalar(sa.text("SHOW transaction_isolation")), "serializable")
        conn.rollback()

    with_connection(url, serializable, isolation_level="SERIALIZABLE")


@test("dropping what the suite made")
def _(url):
    def work(conn):
        conn.execute(DROP_VIEW)
        Base.metadata.drop_all(conn)
        conn.commit()
        equal(conn.scalar(sa.text("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'sqlalchemy\\_%'")), 0)

    with_connection(url, work)


@test("a unit of work over several shards, counts over all")
def _(url):
    def work(session):
        fill(session)
        session.add_all([order(key, 1) for key in KEYS])
        session.flush()
        session.rollback()
        equal(session.scalars(sa.select(Order)).all(), [])
        session.add_all([order(key, 1) for key in KEYS])
        session.commit()
        equal(session.scalar(sa.select(sa.func.count()).select_from(Order)), len(KEYS))
        equal(session.scalars(sa.select(Order.customer_id).order_by(Order.customer_id.desc()).limit(3)).all(), sorted(KEYS)[:-4:-1])
        session.commit()

    with_session(url, work)
    with_connection(url, lambda conn: (Base.metadata.drop_all(conn), conn.commit()))


if __name__ == "__main__":
    for driver in ("psycopg", "asyncpg"):
        suite.main(sys.argv[1].replace("postgres://", f"postgresql+{driver}://"), "--gateway" in sys.argv[2:], f"{driver}: ")
    print("end", flush=True)
