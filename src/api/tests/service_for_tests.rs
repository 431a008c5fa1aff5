//! A service without an engine: jobs are entries in a list, views are filled by hand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::NOON;
use super::client_for_tests::{Reply, request};
use crate::batch::UpdateBatch;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::job::inlets::{RowsIn, RowsRefused, RowsTaken};
use crate::job::service::graph::{Edge, OutputKind, Point};
use crate::job::service::report::{
    FrontierReport, Least, OutputPoint, PartitionPoint, SourcePoint, SourceState,
};
use crate::job::service::{JobFrontier, JobInfo, JobService, JobState, SnapshotsInfo, SourceInfo};
use crate::job::snapshots::{LastSnapshot, SnapshotProgress};
use crate::job::upgrade::{Fate, Part, Reading, Report, SinkChange, SinkFate, TableReading};
use crate::serve::ServedView;
use crate::serve::view::ViewContents;
use crate::snapshot::{
    CopyPlace, FORMAT, JournalEntry, Manifest, ObjectOptions, SavedPartition, SavedSink,
    SavedSource, SavedState, SavedTableRef, Store,
};
use crate::time::{CLOSED, EventTime};

pub struct Fake {
    jobs: Mutex<Vec<JobInfo>>,
    views: Vec<ServedView>,
    started: Semaphore,
    release: Semaphore,
    store: Arc<Store>,
    _dir: tempfile::TempDir,
}

impl Fake {
    /// Waits until a slow request is inside the service.
    pub async fn slow_started(&self) {
        self.started.acquire().await.unwrap().forget();
    }

    pub fn release_slow(&self) {
        self.release.add_permits(1);
    }

    fn wait_for_release(&self) {
        self.started.add_permits(1);
        while self.release.try_acquire().is_err() {
            std::thread::yield_now();
        }
    }
}

fn missing(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{what} '{name}' not found"))
}

impl JobService for Fake {
    fn create(&self, name: &str, sql: &str) -> Result<JobInfo> {
        match sql {
            "bad sql" => {
                let text = "bad sql".to_owned();
                let at = Location { file: name.to_owned(), line: 1, column: 1, width: 3, text };
                return Err(Error::sql("expected a statement, found 'bad'").at(at));
            }
            "bug" => panic!("a bug"),
            "slow" => self.wait_for_release(),
            _ => {}
        }
        if self.get(name).is_ok() {
            return Err(Error::new(ErrorKind::Conflict, format!("job '{name}' exists")));
        }
        let job = job(name, sql, JobState::Starting, None);
        self.jobs.lock().unwrap().push(job.clone());
        Ok(job)
    }

    fn metrics(&self) -> String {
        "# TYPE jobs gauge\njobs 3\n".to_owned()
    }

    fn list(&self) -> Vec<JobInfo> {
        self.jobs.lock().unwrap().clone()
    }

    fn get(&self, name: &str) -> Result<JobInfo> {
        self.list().into_iter().find(|j| j.name == name).ok_or_else(|| missing("job", name))
    }

    fn delete(&self, name: &str, _keep_snapshots: bool) -> Result<()> {
        self.get(name)?;
        self.jobs.lock().unwrap().retain(|j| j.name != name);
        Ok(())
    }

    fn plan(&self, name: &str) -> Result<String> {
        Ok(format!("plan of {}\n", self.get(name)?.sql))
    }

    fn frontier(&self, name: &str) -> Result<JobFrontier> {
        let info = self.get(name)?;
        let report = if name == "trips" { report() } else { FrontierReport::default() };
        Ok(JobFrontier { job: info.name, state: info.state, report })
    }

    fn view(&self, name: &str) -> Result<ServedView> {
        let bare = ["trips.", "tail."].iter().find_map(|job| name.strip_prefix(job));
        let bare = bare.unwrap_or(name);
        let found = self.views.iter().find(|v| v.name == bare).cloned();
        found.ok_or_else(|| missing("view", name))
    }

    fn views(&self) -> Vec<ServedView> {
        self.views.clone()
    }

    fn store(&self) -> Result<Arc<Store>> {
        Ok(Arc::clone(&self.store))
    }

    fn take_rows(&self, table: &str, _: RowsIn) -> Result<RowsTaken, RowsRefused> {
        let message = format!("no job reads a table '{table}' over HTTP");
        Err(Error::new(ErrorKind::NotFound, message).into())
    }

    fn copy_place(&self, text: &str) -> Result<CopyPlace> {
        CopyPlace::parse(text, &ObjectOptions::default())
    }

    fn upgrade(&self, name: &str, _sql: &str, _from_now: bool, apply: bool) -> Result<Report> {
        self.get(name)?;
        let part = Part {
            operator: "View(tips)".to_owned(),
            place: Some((3, 1)),
            fate: Fate::Kept,
            why: String::new(),
            rows: 3,
            bytes: 300,
        };
        let table = TableReading {
            table: "rides".to_owned(),
            reading: Reading::Again,
            why: String::new(),
            partitions: 2,
            bytes: Some(1000),
        };
        let sink =
            SinkChange { name: "out".to_owned(), fate: SinkFate::Continues, why: String::new() };
        let refusal = (!apply).then(|| Error::config("a file is gone").with_hint("put it back"));
        Ok(Report {
            job: name.to_owned(),
            snapshot: 1,
            frontier: NOON,
            parts: vec![part],
            tables: vec![table],
            sinks: vec![sink],
            is_same: false,
            refusal,
            applied: apply.then_some(2),
        })
    }

    fn create_snapshot(&self, name: &str) -> Result<u64> {
        self.get(name)?;
        let id = self.store.next_id(name)?;
        self.store.commit(&manifest(&self.store, name, id)).map(|()| id)
    }

    fn delete_snapshot(&self, name: &str, id: u64) -> Result<()> {
        self.store.delete(name, id)
    }
}

/// One view over one source that is held by a file.
fn report() -> FrontierReport {
    let least = Least { frontier: NOON, since_ms: NOON, ..Least::default() };
    let name = "rides.csv".to_owned();
    let source = SourcePoint {
        table: "rides".to_owned(),
        least: least.clone(),
        gives_way: false,
        furthest: NOON + 5000,
        partitions: 1,
        partition: Some(PartitionPoint { name, offset: 300, frontier: NOON }),
        state: SourceState::AllRead,
        since_ms: NOON,
    };
    let output = |name: &str, frontier| OutputPoint {
        name: name.to_owned(),
        kind: OutputKind::View,
        label: format!("View({name})"),
        reads: vec![Edge { from: Point::Source(0), side: false, whole: false }],
        least: Least { frontier, ..least.clone() },
    };
    FrontierReport {
        at_ms: NOON + 60_000,
        sources: vec![source],
        operators: Vec::new(),
        outputs: vec![output("tips", NOON), output("done", CLOSED)],
    }
}

/// A snapshot with something of everything.
fn manifest(store: &Store, job: &str, id: u64) -> Manifest {
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let rows = RecordBatch::try_from_iter([("n", rows)]).unwrap();
    let table = SavedTableRef {
        name: "log-0".to_owned(),
        worker: 0,
        snapshot: id,
        whole: true,
        shard: None,
        chunks: vec![store.write_chunk(job, &rows).unwrap()],
    };
    let state = SavedState {
        operator: "View(tips)".to_owned(),
        node: 1,
        fingerprint: String::new(),
        recovery: "history".to_owned(),
        since: None,
        tables: vec![table],
    };
    let partition =
        SavedPartition { name: "rides.csv".to_owned(), offset: 3, floor: NOON, ended: false };
    Manifest {
        format: FORMAT,
        job: job.to_owned(),
        run: 0,
        id,
        frontier: NOON,
        complete: false,
        created_ms: NOON,
        duration_ms: 7,
        sql: "CREATE ..".to_owned(),
        settings: [("time_resolution".to_owned(), "1 s".to_owned())].into(),
        plan: "f".to_owned(),
        workers: 2,
        states: vec![state],
        sources: vec![SavedSource {
            table: "rides".to_owned(),
            fingerprint: "f".to_owned(),
            again: false,
            partitions: vec![partition],
        }],
        sinks: vec![SavedSink {
            name: "out".to_owned(),
            committed: NOON,
            fingerprint: "f".to_owned(),
            declared: "f".to_owned(),
            updates: false,
        }],
        outputs: None,
        counters: Default::default(),
        new_bytes: 100,
        changed_bytes: 100,
        pause_us: 0,
        begun_ms: NOON,
    }
}

/// A store with one snapshot and one run of `trips`.
fn store(dir: &std::path::Path) -> Arc<Store> {
    let store = Store::open(dir).unwrap();
    let started = JournalEntry::Started {
        run: 0,
        at_ms: NOON,
        sql: "CREATE ..".to_owned(),
        settings: Default::default(),
        workers: 2,
        from: None,
        frontier: None,
        plan: String::new(),
    };
    store.journal("trips", 0).unwrap().append(&[started]).unwrap();
    store.commit(&manifest(&store, "trips", 1)).unwrap();
    Arc::new(store)
}

fn job(name: &str, sql: &str, state: JobState, frontier: Option<EventTime>) -> JobInfo {
    let info = JobInfo::new(name.to_owned(), sql.to_owned(), NOON);
    JobInfo { state, frontier, rows_in: 3, rows_out: 2, late_rows: 1, ..info }
}

fn view(
    name: &str,
    columns: Vec<(&str, ArrayRef)>,
    key: &[usize],
    times: Vec<i64>,
    upper: EventTime,
) -> ServedView {
    let fields: Vec<Field> =
        columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let contents = ViewContents::new(Arc::clone(&schema), 1, i64::MAX / 2);
    contents.append(0, vec![UpdateBatch::new(rows, times.into(), None)], upper).unwrap();
    ServedView { name: name.to_owned(), schema, key: key.to_vec(), contents: Arc::new(contents) }
}

fn fake() -> Fake {
    let hour = 3_600_000;
    let times = vec![NOON - 2 * hour, NOON - hour];
    let tips: Vec<(&str, ArrayRef)> = vec![
        ("driver", Arc::new(Int64Array::from(vec![1, 2]))),
        (
            "tip",
            Arc::new(
                Decimal128Array::from(vec![1050, 25]).with_precision_and_scale(10, 2).unwrap(),
            ),
        ),
        ("note", Arc::new(StringViewArray::from(vec![Some("a \"b\", c"), None]))),
        ("ts", Arc::new(TimestampMillisecondArray::from(times.clone()))),
    ];
    assert_eq!(tips[3].1.data_type(), &DataType::Timestamp(TimeUnit::Millisecond, None));
    let pairs: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(StringViewArray::from(vec!["x", "x,y"]))),
        ("b", Arc::new(Int64Array::from(vec![1, 2]))),
    ];
    let number = |values: Vec<i64>| -> Vec<(&str, ArrayRef)> {
        vec![("n", Arc::new(Int64Array::from(values)))]
    };
    let views = vec![
        view("floodmark.dead_letters", number(vec![]), &[], vec![], CLOSED),
        view("large", number((0..20_000).collect()), &[], vec![NOON - 9; 20_000], NOON),
        view("pairs", pairs, &[0, 1], vec![NOON - 3, NOON - 2], NOON),
        view("tips", tips, &[0], times, NOON),
        view("tips$late", number(vec![9]), &[], vec![NOON - hour / 2], CLOSED),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut trips = job("trips", "CREATE ..", JobState::Running, Some(NOON));
    let last =
        LastSnapshot { id: 1, frontier: NOON, created_ms: NOON, bytes: 900, duration_ms: 12 };
    let failure = Error::new(ErrorKind::Io, "the disk is full");
    let (last, stopped) = (Some(last), Some(failure));
    let progress = SnapshotProgress { taken: 1, last, stopped, ..Default::default() };
    let damaged = vec!["snapshot 3: chunk 5: it is missing".to_owned()];
    trips.snapshots =
        Some(SnapshotsInfo { from: Some(1), damaged, was_planned_otherwise: false, progress });
    trips.views = vec!["tips".to_owned()];
    trips.sources = vec![SourceInfo {
        table: "rides".to_owned(),
        partitions: 1,
        rows: 3,
        bytes: 300,
        watermark: Some(NOON),
    }];
    let failure = Error::new(ErrorKind::Io, "the disk is full");
    let failed = job("unlucky", "..", JobState::Failed { error: failure }, Some(NOON));
    let mut tail = job("tail", "..", JobState::Finished, Some(CLOSED));
    tail.views = vec!["tips$late".to_owned()];
    Fake {
        jobs: Mutex::new(vec![trips, failed, tail]),
        views,
        started: Semaphore::new(0),
        release: Semaphore::new(0),
        store: store(&dir.path().join("data")),
        _dir: dir,
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub fake: Arc<Fake>,
    pub stop: oneshot::Sender<()>,
    pub task: JoinHandle<Result<()>>,
}

/// A server on a free port.
pub async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fake = Arc::new(fake());
    let service: Arc<dyn JobService> = Arc::clone(&fake) as _;
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(crate::api::serve(listener, service, Default::default(), async {
        let _ = stopped.await;
    }));
    Server { address, fake, stop, task }
}

impl Server {
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        request(self.address, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], "").await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Reply {
        self.request("GET", path, &[("accept", accept)], "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Reply {
        self.request("POST", path, &[("content-type", "application/json")], body).await
    }
}
