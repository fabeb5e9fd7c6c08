//! Keeps a database's [`Catalog`] fresh: reloads it after DDL through the gateway, and when a fingerprint of the system
//! catalogs, asked every second, says that something changed behind its back.
//!
//! One [`CatalogHandle`] per database; sessions read [`CatalogHandle::current`]. How to connect is passed in: which server
//! to ask is `topology`'s business.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use shardmap::ShardId;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_postgres::Client;

use super::shards::ShardNumbers;
use crate::catalog::{Catalog, CatalogVersion, LoadError, OidMap, Rules, load};

/// How often the fingerprint is asked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause between attempts while the server cannot be reached.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A load or a fingerprint that takes longer has lost its server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// See [`CatalogHandle::ddl_turn`]. Most DDL takes a few milliseconds.
const DDL_TURN_TIMEOUT: Duration = Duration::from_millis(500);

/// Opens a control connection to the database; its driver runs in a task of its own.
pub trait Connect: Send + Sync + 'static {
    /// A new connection. Must time out by itself.
    fn connect(&self) -> Connecting<'_>;

    /// How many shards there are.
    fn shards(&self) -> usize {
        1
    }

    /// Which of them is the home shard.
    fn home(&self) -> usize {
        0
    }

    /// A connection to a shard's primary and to no other. Must time out by itself.
    fn connect_shard(&self, _shard: usize) -> Connecting<'_> {
        self.connect()
    }
}

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Client, ConnectFailure>> + Send + 'a>>;

/// Why there is no connection.
pub type ConnectFailure = Box<dyn std::error::Error + Send + Sync>;

/// The current catalog of one database. Cheap to clone; when the last clone is dropped, the polling task ends.
#[derive(Clone)]
pub struct CatalogHandle {
    shared: Arc<Shared>,
}

struct Shared {
    /// No catalog has been read while this is the version.
    before: CatalogVersion,
    published: watch::Sender<Arc<Catalog>>,
    /// The same, to be read without a lock.
    current: ArcSwap<Catalog>,
    /// The version of `current`, stored after it.
    version: AtomicU64,
    /// See [`Catalog::numbers_differ`], of `current`; stored before `version`.
    numbers_differ: AtomicBool,
    /// Reloads asked for so far; the number after a caller's own increment is its ticket.
    tickets: AtomicU64,
    /// Catalogs that only a block sees, counted from the top of the versions down.
    private: AtomicU64,
    rules: Rules,
    connect: Box<dyn Connect>,
    /// Somebody waits for a shard's numbers: it is to be asked although it did not answer a moment ago.
    insist: AtomicBool,
    reader: Mutex<Reader>,
    /// Held by one who runs DDL.
    ddl: Mutex<()>,
}

/// What only one reload at a time may use.
#[derive(Default)]
struct Reader {
    client: Option<Client>,
    fingerprint: Option<String>,
    numbers: ShardNumbers,
    /// All tickets up to this one are answered, with this outcome.
    answered: u64,
    failure: Option<LoadError>,
}

/// `pg_class.oid` and others from here up are users' objects. *Source*: PostgreSQL 15, `access/transam.h`,
/// `FirstNormalObjectId`. The sums do not depend on the order of rows; the row version (`xmin`) seeds each hash.
const FINGERPRINT: &str = "
    SELECT pg_catalog.concat_ws('/',
        pg_catalog.current_setting('search_path'),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint))
            FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(c.oid::bigint, c.xmin::text::bigint))
            FROM pg_catalog.pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(a.attrelid::bigint * 4096 + a.attnum, a.xmin::text::bigint))
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
            WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND a.attnum > 0
            AND c.relkind IN ('r', 'p', 'v', 'm', 'f')),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(d.oid::bigint, d.xmin::text::bigint))
            FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid WHERE c.relpersistence <> 't'),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(i.inhrelid::bigint << 32 | i.inhparent::bigint, i.xmin::text::bigint))
            FROM pg_catalog.pg_inherits i),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint))
            FROM pg_catalog.pg_constraint WHERE contype IN ('f', 'c')),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint)) FROM pg_catalog.pg_policy),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(i.indexrelid::bigint, i.xmin::text::bigint))
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
            WHERE i.indisprimary AND c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p')),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint))
            FROM pg_catalog.pg_proc WHERE oid >= 16384),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint))
            FROM pg_catalog.pg_trigger WHERE NOT tgisinternal),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint))
            FROM pg_catalog.pg_operator WHERE oid >= 16384),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(w.oid::bigint, w.xmin::text::bigint))
            FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_class c ON c.oid = w.ev_class
            WHERE w.oid >= 16384 AND c.relpersistence <> 't'),
        (SELECT pg_catalog.sum(pg_catalog.hashint8extended(oid::bigint, xmin::text::bigint))
            FROM pg_catalog.pg_type WHERE oid >= 16384 AND typtype = 'd'),
        (SELECT pg_catalog.sum(pg_catalog.hashtextextended(
                pg_catalog.concat_ws(',', s.setdatabase, r.rolname, s.setconfig), s.setrole::bigint))
            FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
            WHERE s.setdatabase = 0 OR s.setdatabase =
                (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())))";

/// A text that changes whenever [`load`] might read something else. Temporary tables do not count.
///
/// # Errors
/// When the query fails.
pub async fn fingerprint(client: &Client) -> Result<String, LoadError> {
    let rows = client.query_typed(FINGERPRINT, &[]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

impl CatalogHandle {
    /// Reads the first catalog and starts the task that keeps it fresh.
    ///
    /// # Errors
    /// When the first catalog cannot be read.
    pub async fn start(rules: Rules, connect: Box<dyn Connect>) -> Result<CatalogHandle, LoadError> {
        CatalogHandle::start_after(CatalogVersion::default(), rules, connect).await
    }

    /// As [`CatalogHandle::start`], with versions above `before`: where a database is opened again, what was compiled under
    /// the versions of its former catalog must not seem to be of the new one.
    ///
    /// # Errors
    /// When the first catalog cannot be read.
    pub async fn start_after(
        before: CatalogVersion,
        rules: Rules,
        connect: Box<dyn Connect>,
    ) -> Result<CatalogHandle, LoadError> {
        let nothing = Arc::new(Catalog { version: before, ..Catalog::default() });
        let (published, _) = watch::channel(nothing.clone());
        let shared = Shared {
            before,
            current: ArcSwap::new(nothing),
            version: AtomicU64::new(before.0),
            numbers_differ: AtomicBool::new(false),
            published,
            tickets: AtomicU64::new(0),
            private: AtomicU64::new(u64::MAX),
            rules,
            connect,
            insist: AtomicBool::new(false),
            reader: Mutex::new(Reader::default()),
            ddl: Mutex::default(),
        };
        let handle = CatalogHandle { shared: Arc::new(shared) };
        handle.refresh().await?;
        tokio::spawn(poll(Arc::downgrade(&handle.shared)));
        Ok(handle)
    }

    /// The catalog as last read.
    pub fn current(&self) -> Arc<Catalog> {
        self.shared.current.load_full()
    }

    /// The same, for a moment: nothing is counted that other threads count too.
    pub fn load(&self) -> arc_swap::Guard<Arc<Catalog>> {
        self.shared.current.load()
    }

    /// The version of the catalog as last read, or of the one before it while that is being replaced.
    pub fn version(&self) -> CatalogVersion {
        CatalogVersion(self.shared.version.load(Ordering::Acquire))
    }

    /// Some shard has other numbers for users' types than the home shard.
    pub fn numbers_differ(&self) -> bool {
        self.shared.numbers_differ.load(Ordering::Acquire)
    }

    /// The rules by which relations are told apart.
    pub fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    /// A version for a catalog that only one block sees: no other has it.
    pub fn private_version(&self) -> CatalogVersion {
        CatalogVersion(self.shared.private.fetch_sub(1, Ordering::Relaxed))
    }

    /// How the numbers of a shard's types translate; `None` if they need not, as they are those of the home shard.
    pub fn oids(&self, shard: ShardId) -> Option<Arc<OidMap>> {
        self.shared.current.load().oids.get(usize::from(shard.0)).cloned().flatten()
    }

    /// As [`CatalogHandle::refresh`], for a number that is not known: also shards that did not answer a moment ago are asked.
    ///
    /// # Errors
    /// As for `refresh`; the numbers may have been read all the same.
    pub async fn refresh_numbers(&self) -> Result<(), LoadError> {
        self.shared.insist.store(true, Ordering::SeqCst);
        self.refresh().await
    }

    /// Waits for one's turn to run DDL, so that all shards hand out numbers in the same order. Not for long: DDL that waits for
    /// a lock holds up no other, and where numbers differ, they are translated.
    pub async fn ddl_turn(&self) -> Option<MutexGuard<'_, ()>> {
        tokio::time::timeout(DDL_TURN_TIMEOUT, self.shared.ddl.lock()).await.ok()
    }

    /// For those who wait for changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Catalog>> {
        self.shared.published.subscribe()
    }

    /// Reads the catalog now; when it returns, [`CatalogHandle::current`] shows all that was committed before the call.
    /// Callers at the same time share one reload, which begins after the last of them called.
    ///
    /// # Errors
    /// When it cannot be read; the old one stays.
    ///
    /// # Cancel safety
    /// Cancel safe: a reload that is dropped half-way is begun again by the next caller.
    pub async fn refresh(&self) -> Result<(), LoadError> {
        let ticket = self.shared.tickets.fetch_add(1, Ordering::SeqCst) + 1;
        let mut reader = self.shared.reader.lock().await;
        if reader.answered >= ticket {
            return reader.failure.clone().map_or(Ok(()), Err);
        }
        let answering = self.shared.tickets.load(Ordering::SeqCst);
        let outcome = Box::pin(self.shared.reload(&mut reader, Unchanged::Reload)).await;
        reader.answered = answering;
        reader.failure = outcome.as_ref().err().cloned();
        outcome
    }
}

/// What to do when the fingerprint is the one of the current catalog.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unchanged {
    Reload,
    Keep,
}

impl Shared {
    /// Reads what has changed, of the catalog and of the shards' numbers, and publishes it if it differs.
    async fn reload(&self, reader: &mut Reader, unchanged: Unchanged) -> Result<(), LoadError> {
        let insist = self.insist.swap(false, Ordering::SeqCst);
        let Reader { client, fingerprint, numbers, .. } = reader;
        let (read, ()) =
            tokio::join!(self.read(client, fingerprint, unchanged), numbers.read(self.connect.as_ref(), insist));
        let (oids, own_numbers) = (numbers.maps(), numbers.own());
        let (catalog, outcome) = match read {
            Ok(catalog) => (catalog, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.published.send_if_modified(|current| {
            let first = current.version == self.before;
            // Nothing is published before the first catalog.
            let fresh = match catalog {
                Some(catalog) if first || !same(current, &catalog) => Some(catalog),
                Some(_) => None,
                None if first => return false,
                None => None,
            };
            let known = Arc::ptr_eq(&current.oids, &oids) && current.own_numbers == own_numbers;
            if fresh.is_none() && known {
                return false;
            }
            let version = CatalogVersion(current.version.0 + 1);
            let base = fresh.unwrap_or_else(|| Catalog::clone(current));
            *current = Arc::new(Catalog { version, oids, own_numbers, ..base });
            self.current.store(current.clone());
            self.numbers_differ.store(current.numbers_differ(), Ordering::Release);
            self.version.store(version.0, Ordering::Release);
            true
        });
        outcome
    }

    /// Reads the fingerprint, then the catalog; `None` if it has not changed.
    async fn read(
        &self,
        client: &mut Option<Client>,
        known: &mut Option<String>,
        unchanged: Unchanged,
    ) -> Result<Option<Catalog>, LoadError> {
        // Taken out, so that a connection on which something failed, or was dropped half-way, is not used again.
        let used = match client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connect.connect().await.map_err(|error| LoadError::Connect(error.into()))?,
        };
        let reading = async {
            // Before the catalog: what changes between the two shows in the next fingerprint.
            let fingerprint = fingerprint(&used).await?;
            if unchanged == Unchanged::Keep && known.as_ref() == Some(&fingerprint) {
                return Ok(None);
            }
            Ok(Some((fingerprint, load(&used, &self.rules, CatalogVersion::default()).await?)))
        };
        let read =
            tokio::time::timeout(ANSWER_TIMEOUT, reading).await.unwrap_or(Err(LoadError::Timeout(ANSWER_TIMEOUT)))?;
        *client = Some(used);
        Ok(read.map(|(fingerprint, catalog)| {
            *known = Some(fingerprint);
            catalog
        }))
    }
}

/// Whether two catalogs differ in their versions only.
fn same(a: &Catalog, b: &Catalog) -> bool {
    a.schemas == b.schemas
        && a.functions == b.functions
        && a.routines == b.routines
        && a.search_paths == b.search_paths
        && a.empty_schemas == b.empty_schemas
        && a.operators == b.operators
        && a.domain_defaults == b.domain_defaults
        && a.made_of == b.made_of
        && a.nondeterministic == b.nondeterministic
}

/// Asks for changes until the last handle is gone; while the server cannot be reached, ever less often.
async fn poll(shared: Weak<Shared>) {
    let mut pause = POLL_INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        let mut reader = shared.reader.lock().await;
        match shared.reload(&mut reader, Unchanged::Keep).await {
            Ok(()) => pause = POLL_INTERVAL,
            Err(error) => {
                tracing::warn!(%error, retry_seconds = pause.as_secs(), "the catalog may be out of date");
                pause = pause.saturating_mul(2).min(BACKOFF_MAX);
            }
        }
    }
}
