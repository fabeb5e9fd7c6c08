import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

/**
 * JDBC: server-prepared statements from the fifth execution on, batches, CopyManager, fetch sizes, DatabaseMetaData.
 *
 * <p>{@code Suite URL [--gateway]} prints {@code ok NAME} or {@code FAILED NAME: reason} for each test and {@code end} when
 * it came to its end.
 */
public class Suite {
    static final int KEYS = 64;
    static final int TEST_SECONDS_MAX = 60;
    static final String INSERT = "INSERT INTO jdbc_orders (customer_id, id, total) VALUES (?, ?, ?)";
    static final String TOTALS = "SELECT total FROM jdbc_orders WHERE customer_id = ? ORDER BY total";
    static URI url;

    interface Body {
        void run() throws Exception;
    }

    static Connection connect(String... options) throws SQLException {
        String[] login = url.getUserInfo().split(":");
        Properties properties = new Properties();
        properties.setProperty("user", login[0]);
        properties.setProperty("password", login[1]);
        properties.setProperty("socketTimeout", String.valueOf(TEST_SECONDS_MAX));
        for (int i = 0; i < options.length; i += 2) {
            properties.setProperty(options[i], options[i + 1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath(), properties);
    }

    static void equal(Object got, Object expected, String what) {
        if (!java.util.Objects.deepEquals(got, expected)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + got);
        }
    }

    static void isTrue(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static PSQLException raises(String state, Body body) throws Exception {
        try {
            body.run();
        } catch (BatchUpdateException error) {
            equal(error.getSQLState(), state, error.getMessage());
            return null;
        } catch (PSQLException error) {
            equal(error.getSQLState(), state, error.getMessage());
            return error;
        }
        throw new AssertionError("expected SQLSTATE " + state + ", got no error");
    }

    static void execute(Connection conn, String sql) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.execute(sql);
        }
    }

    static String one(Connection conn, String sql) throws SQLException {
        try (Statement statement = conn.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            isTrue(rows.next(), "no row: " + sql);
            return rows.getString(1);
        }
    }

    static void orders(Connection conn) throws SQLException {
        execute(conn, "DROP TABLE IF EXISTS jdbc_orders");
        execute(conn, "CREATE TABLE jdbc_orders (customer_id bigint NOT NULL, id uuid NOT NULL, status text NOT NULL DEFAULT 'new',"
            + " total numeric(12,2), PRIMARY KEY (customer_id, id))");
    }

    static UUID add(Connection conn, long key, int total) throws SQLException {
        UUID id = UUID.randomUUID();
        try (PreparedStatement insert = conn.prepareStatement(INSERT)) {
            insert.setLong(1, key);
            insert.setObject(2, id);
            insert.setBigDecimal(3, new BigDecimal(total));
            equal(insert.executeUpdate(), 1, "rows inserted");
        }
        return id;
    }

    static List<Integer> totals(Connection conn, long key) throws SQLException {
        try (PreparedStatement select = conn.prepareStatement(TOTALS)) {
            select.setLong(1, key);
            return integers(select.executeQuery());
        }
    }

    static List<Integer> integers(ResultSet rows) throws SQLException {
        List<Integer> got = new ArrayList<>();
        while (rows.next()) {
            got.add(rows.getInt(1));
        }
        rows.close();
        return got;
    }

    static List<Integer> upTo(int first, int end) {
        List<Integer> numbers = new ArrayList<>();
        for (int n = first; n < end; n++) {
            numbers.add(n);
        }
        return numbers;
    }

    static void connecting() throws Exception {
        try (Connection conn = connect("ApplicationName", "drivers-jdbc", "options", "-c timezone=Asia/Tokyo -c work_mem=5MB")) {
            equal(one(conn, "SHOW application_name"), "drivers-jdbc", "application_name");
            equal(one(conn, "SHOW work_mem"), "5MB", "work_mem");
            equal(one(conn, "SHOW client_encoding"), "UTF8", "client_encoding");
            equal(one(conn, "SHOW datestyle"), "ISO, MDY", "datestyle");
            conn.setClientInfo("ApplicationName", "renamed");
            equal(one(conn, "SHOW application_name"), "renamed", "application_name");
            isTrue(conn.isValid(5), "isValid");
            conn.setSchema("public");
            equal(conn.getSchema(), "public", "schema");
            equal(conn.getCatalog(), "shop", "catalog");
        }
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection conn = connect("preferQueryMode", mode)) {
                orders(conn);
                add(conn, 1, 5);
                equal(totals(conn, 1), List.of(5), mode);
            }
        }
        raises("28P01", () -> connect("password", "wrong").close());
    }

    static void types(String binary, String threshold) throws Exception {
        try (Connection conn = connect("binaryTransfer", binary, "prepareThreshold", threshold)) {
            execute(conn, "DROP TABLE IF EXISTS jdbc_types");
            execute(conn, "CREATE TABLE jdbc_types (customer_id int NOT NULL, id uuid NOT NULL, i2 int2, i4 int4, i8 int8, n numeric,"
                + " f8 float8, t text, b bytea, tstz timestamptz, d date, iv interval, jb jsonb, ia int[], ta text[], bo bool,"
                + " PRIMARY KEY (customer_id, id))");
            OffsetDateTime when = OffsetDateTime.of(2024, 2, 29, 23, 59, 59, 999_999_000, ZoneOffset.UTC);
            byte[] bytes = new byte[256];
            for (int n = 0; n < 256; n++) {
                bytes[n] = (byte) n;
            }
            PGobject json = new PGobject();
            json.setType("jsonb");
            json.setValue("{\"a\": [1, null]}");
            String text = "Grüße, 世界 \\ ' \" \t\n";
            BigDecimal numeric = new BigDecimal("-12345678901234567890.123456789");
            for (int key = 1; key <= 16; key++) {
                UUID id = UUID.randomUUID();
                try (PreparedStatement insert = conn.prepareStatement("INSERT INTO jdbc_types VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")) {
                    insert.setInt(1, key);
                    insert.setObject(2, id);
                    insert.setShort(3, Short.MIN_VALUE);
                    insert.setInt(4, Integer.MAX_VALUE);
                    insert.setLong(5, Long.MIN_VALUE);
                    insert.setBigDecimal(6, numeric);
                    insert.setDouble(7, 1e-300);
                    insert.setString(8, text);
                    insert.setBytes(9, bytes);
                    insert.setObject(10, when);
                    insert.setObject(11, LocalDate.of(1900, 1, 1));
                    insert.setObject(12, new PGInterval("3 days 7.5 seconds"));
                    insert.setObject(13, json);
                    insert.setArray(14, conn.createArrayOf("int4", new Integer[] {1, null, -3}));
                    insert.setArray(15, conn.createArrayOf("text", new String[] {"a", null, "q\"uo,te", ""}));
                    insert.setBoolean(16, true);
                    insert.executeUpdate();
                    insert.setObject(2, UUID.randomUUID());
                    for (int n = 3; n <= 16; n++) {
                        insert.setNull(n, Types.NULL);
                    }
                    insert.executeUpdate();
                }
                try (PreparedStatement select = conn.prepareStatement("SELECT * FROM jdbc_types WHERE customer_id = ? AND id = ?")) {
                    select.setInt(1, key);
                    select.setObject(2, id);
                    ResultSet row = select.executeQuery();
                    isTrue(row.next(), "the row is there");
                    equal(row.getShort("i2"), Short.MIN_VALUE, "i2");
                    equal(row.getInt("i4"), Integer.MAX_VALUE, "i4");
                    equal(row.getLong("i8"), Long.MIN_VALUE, "i8");
                    equal(row.getBigDecimal("n"), numeric, "n");
                    equal(row.getDouble("f8"), 1e-300, "f8");
                    equal(row.getString("t"), text, "t");
                    equal(row.getBytes("b"), bytes, "b");
                    equal(row.getObject("tstz", OffsetDateTime.class), when, "tstz");
                    equal(row.getObject("d", LocalDate.class), LocalDate.of(1900, 1, 1), "d");
                    equal(row.getObject("iv"), new PGInterval("3 days 7.5 seconds"), "iv");
                    equal(row.getString("jb"), "{\"a\": [1, null]}", "jb");
                    equal(row.getArray("ia").getArray(), new Integer[] {1, null, -3}, "ia");
                    equal(row.getArray("ta").getArray(), new String[] {"a", null, "q\"uo,te", ""}, "ta");
                    equal(row.getBoolean("bo"), true, "bo");
                    equal(row.getObject("id"), id, "id");
                    isTrue(!row.next(), "one row only");
                }
                try (PreparedStatement select = conn.prepareStatement("SELECT * FROM jdbc_types WHERE customer_id = ? AND i4 IS NULL")) {
                    select.setInt(1, key);
                    ResultSet row = select.executeQuery();
                    isTrue(row.next(), "the row of NULLs is there");
                    for (int n = 3; n <= 16; n++) {
                        equal(row.getObject(n), null, "column " + n);
                    }
                }
            }
        }
    }

    static void transactions() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
            conn.setAutoCommit(false);
            add(conn, 5, 1);
            Savepoint point = conn.setSavepoint("a");
            add(conn, 5, 2);
            raises("22012", () -> execute(conn, "SELECT 1/0"));
            raises("25P02", () -> execute(conn, "SELECT 1"));
            conn.rollback(point);
            add(conn, 5, 3);
            conn.releaseSavepoint(point);
            conn.commit();
            equal(totals(conn, 5), List.of(1, 3), "after commit");
            add(conn, 5, 4);
            conn.rollback();
            equal(totals(conn, 5), List.of(1, 3), "after rollback");
            conn.commit();
            conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            conn.setReadOnly(true);
            equal(one(conn, "SHOW transaction_isolation"), "serializable", "isolation");
            raises("25006", () -> add(conn, 5, 5));
            conn.rollback();
            conn.setReadOnly(false);
            conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            for (int key = 1; key <= 16; key++) {
                totals(conn, key);
            }
            add(conn, 5, 6);
            conn.commit();
            equal(totals(conn, 5), List.of(1, 3, 6), "reads of many keys, a write of one");
        }
        try (Connection conn = connect("autosave", "always")) {
            conn.setAutoCommit(false);
            raises("22012", () -> execute(conn, "SELECT 1/0"));
            equal(one(conn, "SELECT 1"), "1", "autosave keeps the transaction alive");
            conn.commit();
        }
    }

    static void serverPrepared() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
            for (int key = 1; key <= KEYS; key++) {
                add(conn, key, key);
            }
            try (PreparedStatement select = conn.prepareStatement(TOTALS);
                PreparedStatement update = conn.prepareStatement("UPDATE jdbc_orders SET status = ? WHERE customer_id = ?")) {
                for (int round = 0; round < 4; round++) {
                    for (int key = 1; key <= KEYS; key++) {
                        select.setLong(1, key);
                        equal(integers(select.executeQuery()), List.of(key), "key " + key);
                        update.setString(1, "r" + round);
                        update.setLong(2, key);
                        equal(update.executeUpdate(), 1, "rows updated");
                    }
                }
                isTrue(select.unwrap(org.postgresql.PGStatement.class).isUseServerPrepare(), "prepared on the server");
                equal(select.getMetaData().getColumnTypeName(1), "numeric", "type");
                equal(select.getParameterMetaData().getParameterTypeName(1), "int8", "parameter type");
            }
            for (int n = 1; n <= 60; n++) {
                try (PreparedStatement select = conn.prepareStatement("SELECT total + " + n + " FROM jdbc_orders WHERE customer_id = ?")) {
                    for (int again = 0; again < 7; again++) {
                        select.setLong(1, n);
                        equal(integers(select.executeQuery()), List.of(2 * n), "statement " + n);
                    }
                }
            }
        }
    }

    static void afterDdl() throws Exception {
        try (Connection conn = connect("prepareThreshold", "1")) {
            orders(conn);
            for (int key = 1; key <= 8; key++) {
                add(conn, key, key);
            }
            try (PreparedStatement all = conn.prepareStatement("SELECT * FROM jdbc_orders WHERE customer_id = ?")) {
                for (int round = 0; round < 2; round++) {
                    for (int key = 1; key <= 8; key++) {
                        all.setLong(1, key);
                        ResultSet row = all.executeQuery();
                        isTrue(row.next(), "the row is there");
                        equal(row.getMetaData().getColumnCount(), 4 + round, "columns");
                        equal(totals(conn, key), List.of(key), "key " + key);
                    }
                    // pgjdbc prepares anew by itself when it is told that the result type changed.
                    execute(conn, "ALTER TABLE jdbc_orders ADD COLUMN note" + round + " text DEFAULT 'none'");
                }
            }
        }
    }

    static void batches() throws Exception {
        for (String rewrite : new String[] {"false", "true"}) {
            try (Connection conn = connect("reWriteBatchedInserts", rewrite)) {
                orders(conn);
                for (boolean auto : new boolean[] {true, false}) {
                    conn.setAutoCommit(auto);
                    for (int key = 1; key <= 8; key++) {
                        try (PreparedStatement insert = conn.prepareStatement(INSERT)) {
                            for (int n = 0; n < 300; n++) {
                                insert.setLong(1, key);
                                insert.setObject(2, UUID.randomUUID());
                                insert.setBigDecimal(3, new BigDecimal(n));
                                insert.addBatch();
                            }
                            equal(insert.executeBatch().length, 300, "counts");
                        }
                        if (!auto) {
                            conn.commit();
                        }
                    }
                }
                conn.setAutoCommit(true);
                for (int key = 1; key <= 8; key++) {
                    equal(totals(conn, key).size(), 600, "rows of key " + key);
                }
                UUID same = UUID.randomUUID();
                raises("23505", () -> {
                    try (PreparedStatement insert = conn.prepareStatement(INSERT)) {
                        for (int n = 0; n < 3; n++) {
                            insert.setLong(1, 20);
                            insert.setObject(2, same);
                            insert.setBigDecimal(3, new BigDecimal(n));
                            insert.addBatch();
                        }
                        insert.executeBatch();
                    }
                });
                equal(totals(conn, 20), List.of(), "a failed batch leaves nothing");
            }
        }
    }

    static void generatedKeys() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
            for (int key = 1; key <= 8; key++) {
                try (PreparedStatement insert = conn.prepareStatement(INSERT, new String[] {"id", "status"})) {
                    UUID id = UUID.randomUUID();
                    insert.setLong(1, key);
                    insert.setObject(2, id);
                    insert.setBigDecimal(3, new BigDecimal(1));
                    insert.executeUpdate();
                    ResultSet row = insert.getGeneratedKeys();
                    isTrue(row.next(), "a key came back");
                    equal(row.getObject(1), id, "id");
                    equal(row.getString(2), "new", "default");
                }
            }
        }
    }

    static void copying() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
            CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
            List<String> lines = new ArrayList<>();
            for (int key = 1; key <= KEYS; key++) {
                for (int n = 0; n < 100; n++) {
                    lines.add(key + "\t" + UUID.randomUUID() + "\tä\\tb" + n + "\t" + n + ".00");
                }
            }
            long rows = copy.copyIn("COPY jdbc_orders FROM STDIN", new StringReader(String.join("\n", lines) + "\n"));
            equal(rows, (long) lines.size(), "rows in");
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            equal(copy.copyOut("COPY jdbc_orders TO STDOUT", out), rows, "rows out");
            List<String> got = Arrays.asList(out.toString(StandardCharsets.UTF_8).split("\n"));
            Collections.sort(got);
            Collections.sort(lines);
            equal(got, lines, "text");
            for (int key = 1; key <= KEYS; key++) {
                equal(totals(conn, key), upTo(0, 100), "key " + key);
            }
            ByteArrayOutputStream binary = new ByteArrayOutputStream();
            copy.copyOut("COPY jdbc_orders TO STDOUT (FORMAT binary)", binary);
            orders(conn);
            rows = copy.copyIn("COPY jdbc_orders FROM STDIN (FORMAT binary)", new ByteArrayInputStream(binary.toByteArray()));
            equal(rows, (long) lines.size(), "rows in, binary");
            String bad = lines.get(0) + "\n5\t" + UUID.randomUUID() + "\tx\tnot a number\n";
            orders(conn);
            raises("22P02", () -> copy.copyIn("COPY jdbc_orders FROM STDIN", new StringReader(bad)));
            for (int key = 1; key <= KEYS; key++) {
                equal(totals(conn, key), List.of(), "a failed COPY leaves nothing");
            }
            execute(conn, "DROP TABLE IF EXISTS jdbc_countries");
            execute(conn, "CREATE TABLE jdbc_countries (code text PRIMARY KEY, name text NOT NULL)");
            copy.copyIn("COPY jdbc_countries FROM STDIN (FORMAT csv)", new StringReader("new,Newland\nat,Austria\n"));
            for (int key = 1; key <= 16; key++) {
                add(conn, key, 1);
                equal(one(conn, "SELECT c.name FROM jdbc_orders o JOIN jdbc_countries c ON c.code = o.status WHERE o.customer_id = " + key),
                    "Newland", "join with a reference table");
            }
        }
    }

    static void fetchSize() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
            CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < 1000; n++) {
                lines.append("19\t").append(UUID.randomUUID()).append("\tx\t").append(n).append("\n");
            }
            copy.copyIn("COPY jdbc_orders FROM STDIN", new StringReader(lines.toString()));
            conn.setAutoCommit(false);
            try (PreparedStatement select = conn.prepareStatement(TOTALS)) {
                for (int round = 0; round < 7; round++) {
                    select.setFetchSize(73);
                    select.setLong(1, 19);
                    equal(integers(select.executeQuery()), upTo(0, 1000), "all rows in portions");
                }
                select.setFetchSize(10);
                ResultSet early = select.executeQuery();
                isTrue(early.next(), "first row");
                // The portal is left suspended while other statements run.
                equal(one(conn, "SELECT count(*) FROM jdbc_orders WHERE customer_id = 19"), "1000", "count");
                for (int n = 1; n < 30; n++) {
                    isTrue(early.next(), "row " + n);
                    equal(early.getInt(1), n, "row");
                }
                early.close();
                select.setFetchSize(0);
                select.setMaxRows(5);
                equal(integers(select.executeQuery()), upTo(0, 5), "setMaxRows");
            }
            conn.commit();
        }
    }

    static void errors() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
            UUID id = add(conn, 13, 1);
            PSQLException error = raises("23505", () -> execute(conn, "INSERT INTO jdbc_orders VALUES (13, '" + id + "', 'x', 1)"));
            equal(error.getServerErrorMessage().getConstraint(), "jdbc_orders_pkey", "constraint");
            equal(error.getServerErrorMessage().getTable(), "jdbc_orders", "table");
            String[][] cases = {
                {"42601", "SELEC 1"}, {"42P01", "SELECT * FROM jdbc_no_such_table"}, {"22012", "SELECT 1/0"},
                {"42703", "SELECT x FROM jdbc_orders WHERE customer_id = 1"}, {"22P02", "SELECT 'x'::int"},
            };
            for (String[] one : cases) {
                raises(one[0], () -> execute(conn, one[1]));
                equal(one(conn, "SELECT 1"), "1", "usable after " + one[0]);
            }
            try (Statement statement = conn.createStatement()) {
                statement.execute("DROP TABLE IF EXISTS jdbc_never_there");
                isTrue(statement.getWarnings().getMessage().contains("does not exist, skipping"), "the notice arrives");
            }
        }
    }

    static void cancel() throws Exception {
        try (Connection conn = connect(); Statement statement = conn.createStatement()) {
            orders(conn);
            add(conn, 17, 1);
            for (String sql : new String[] {"SELECT pg_sleep(50)", "SELECT pg_sleep(50) FROM jdbc_orders WHERE customer_id = 17"}) {
                statement.setQueryTimeout(1);
                raises("57014", () -> statement.execute(sql));
                equal(one(conn, "SELECT 1"), "1", "usable after a timeout");
                statement.setQueryTimeout(0);
                CountDownLatch ended = new CountDownLatch(1);
                Thread canceller = new Thread(() -> {
                    try {
                        // Again and again: nobody tells when the statement has begun.
                        while (!ended.await(500, TimeUnit.MILLISECONDS)) {
                            statement.cancel();
                        }
                    } catch (Exception error) {
                        error.printStackTrace();
                    }
                });
                canceller.start();
                try {
                    raises("57014", () -> statement.execute(sql));
                } finally {
                    ended.countDown();
                    canceller.join();
                }
                equal(one(conn, "SELECT 1"), "1", "usable after a cancel");
            }
        }
    }

    static List<String> names(ResultSet rows, String column) throws SQLException {
        List<String> got = new ArrayList<>();
        while (rows.next()) {
            got.add(rows.getString(column));
        }
        rows.close();
        return got;
    }

    static void metaData() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
            DatabaseMetaData meta = conn.getMetaData();
            equal(meta.getDatabaseProductName(), "PostgreSQL", "product");
            isTrue(meta.getDatabaseMajorVersion() >= 13, "version");
            equal(names(meta.getTables(null, "public", "jdbc\\_ord%", new String[] {"TABLE"}), "TABLE_NAME"), List.of("jdbc_orders"), "tables");
            equal(names(meta.getColumns(null, "public", "jdbc_orders", null), "COLUMN_NAME"), List.of("customer_id", "id", "status", "total"), "columns");
            equal(names(meta.getPrimaryKeys(null, "public", "jdbc_orders"), "COLUMN_NAME"), List.of("customer_id", "id"), "primary key");
            isTrue(names(meta.getIndexInfo(null, "public", "jdbc_orders", true, false), "INDEX_NAME").contains("jdbc_orders_pkey"), "index");
            isTrue(names(meta.getSchemas(), "TABLE_SCHEM").contains("public"), "schema");
            isTrue(names(meta.getTypeInfo(), "TYPE_NAME").contains("uuid"), "type");
            names(meta.getImportedKeys(null, "public", "jdbc_orders"), "FKTABLE_NAME");
            names(meta.getFunctions(null, "pg_catalog", "now"), "FUNCTION_NAME");
            names(meta.getTablePrivileges(null, "public", "jdbc_orders"), "GRANTEE");
            names(meta.getCatalogs(), "TABLE_CAT");
            isTrue(meta.getMaxConnections() > 0, "max connections");
            equal(meta.getUserName(), "app", "user");
        }
    }

    static void everyShard() throws Exception {
        try (Connection conn = connect("prepareThreshold", "2")) {
            orders(conn);
            for (int key = 1; key <= KEYS; key++) {
                add(conn, key, key);
            }
            try (PreparedStatement select = conn.prepareStatement("SELECT total FROM jdbc_orders WHERE total < ?")) {
                for (int round = 0; round < 5; round++) {
                    select.setBigDecimal(1, new BigDecimal(33));
                    List<Integer> got = integers(select.executeQuery());
                    Collections.sort(got);
                    equal(got, upTo(1, 33), "rows of all shards");
                }
            }
            try (PreparedStatement select = conn.prepareStatement("SELECT customer_id FROM jdbc_orders WHERE customer_id = ANY(?)")) {
                Array keys = conn.createArrayOf("int8", new Long[] {1L, 20L, 40L, 64L});
                for (int round = 0; round < 5; round++) {
                    select.setArray(1, keys);
                    List<Integer> got = integers(select.executeQuery());
                    Collections.sort(got);
                    equal(got, List.of(1, 20, 40, 64), "rows of some keys");
                }
            }
        }
    }

    static void threads() throws Exception {
        try (Connection conn = connect()) {
            orders(conn);
        }
        List<Thread> threads = new ArrayList<>();
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        for (int n = 1; n <= 16; n++) {
            int key = n;
            Thread thread = new Thread(() -> {
                try (Connection conn = connect("prepareThreshold", "3")) {
                    conn.setAutoCommit(false);
                    for (int i = 0; i < 20; i++) {
                        add(conn, key, i);
                        conn.commit();
                    }
                    equal(totals(conn, key), upTo(0, 20), "key " + key);
                    conn.commit();
                } catch (Throwable error) {
                    failures.add(error);
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        equal(failures, List.of(), "failures");
    }

    static void dropAll() throws Exception {
        try (Connection conn = connect()) {
            for (String table : new String[] {"orders", "types", "countries"}) {
                execute(conn, "DROP TABLE IF EXISTS jdbc_" + table);
            }
            equal(one(conn, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'jdbc\\_%'"), "0", "tables left");
        }
    }

    static void allShards() throws Exception {
        try (Connection conn = connect("prepareThreshold", "2")) {
            orders(conn);
            for (int key = 1; key <= KEYS; key++) {
                add(conn, key, key);
            }
            for (int round = 0; round < 4; round++) {
                equal(one(conn, "SELECT count(*) FROM jdbc_orders"), String.valueOf(KEYS), "rows of all shards");
                equal(one(conn, "SELECT total::int FROM jdbc_orders ORDER BY total DESC LIMIT 1"), String.valueOf(KEYS), "the largest");
                for (String sql : new String[] {"SELECT ctid FROM jdbc_orders", "SELECT * FROM jdbc_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)"}) {
                    raises("0A000", () -> execute(conn, sql));
                }
            }
            conn.setAutoCommit(false);
            for (boolean kept : new boolean[] {false, true}) {
                try (PreparedStatement insert = conn.prepareStatement(INSERT)) {
                    for (int key = 1; key <= KEYS; key++) {
                        insert.setLong(1, key);
                        insert.setObject(2, UUID.randomUUID());
                        insert.setBigDecimal(3, new BigDecimal(1));
                        insert.addBatch();
                    }
                    insert.executeBatch();
                }
                if (kept) {
                    conn.commit();
                } else {
                    conn.rollback();
                }
                equal(one(conn, "SELECT count(*) FROM jdbc_orders"), String.valueOf(kept ? 2 * KEYS : KEYS), "rows after the end");
                conn.commit();
            }
            conn.setAutoCommit(true);
            execute(conn, "DELETE FROM jdbc_orders");
            equal(one(conn, "SELECT count(*) FROM jdbc_orders"), "0", "rows left");
            execute(conn, "DROP TABLE jdbc_orders");
        }
    }

    static void test(String name, Body body) {
        Throwable[] failure = new Throwable[1];
        Thread thread = new Thread(() -> {
            try {
                body.run();
            } catch (Throwable error) {
                failure[0] = error;
            }
        });
        thread.setDaemon(true);
        thread.start();
        try {
            thread.join(TEST_SECONDS_MAX * 1000L);
        } catch (InterruptedException error) {
            failure[0] = error;
        }
        if (thread.isAlive()) {
            failure[0] = new AssertionError("not done after " + TEST_SECONDS_MAX + " s");
        }
        if (failure[0] == null) {
            System.out.println("ok " + name);
        } else {
            System.out.println("FAILED " + name + ": " + String.valueOf(failure[0]).replaceAll("\\s+", " "));
            if (System.getenv("DRIVERS_TRACE") != null) {
                failure[0].printStackTrace();
            }
        }
        System.out.flush();
    }

    public static void main(String[] arguments) {
        url = URI.create(arguments[0]);
        test("connect with options, in each query mode; a wrong password", Suite::connecting);
        test("types go in and come back, text", () -> types("false", "5"));
        test("types go in and come back, binary", () -> types("true", "-1"));
        test("commit, rollback, savepoint, errors, autosave", Suite::transactions);
        test("server-prepared statements re-used over many keys", Suite::serverPrepared);
        test("prepared statements after DDL", Suite::afterDdl);
        test("batches of one key, plain and rewritten", Suite::batches);
        test("generated keys", Suite::generatedKeys);
        test("CopyManager: in and out, text and binary, rows of every shard", Suite::copying);
        test("setFetchSize and setMaxRows in a transaction", Suite::fetchSize);
        test("errors keep SQLSTATE and fields; the connection is usable afterwards", Suite::errors);
        test("cancel and query timeout", Suite::cancel);
        test("DatabaseMetaData", Suite::metaData);
        test("SELECT without key returns the rows of all shards", Suite::everyShard);
        test("many connections at once", Suite::threads);
        test("dropping what the suite made", Suite::dropAll);
        if (Arrays.asList(arguments).contains("--gateway")) {
            test("all shards: aggregates, order, transactions; what is refused", Suite::allShards);
        }
        System.out.println("end");
        System.exit(0);
    }
}
