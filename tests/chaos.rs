//! Clusters of real processes under faults: killed, stopped, cut off, slowed down, without disk.
//! What sinks and views hold in the end is, byte for byte, what one undisturbed process gives.
//!
//! `FLOODMARK_FAULTS=500 FLOODMARK_SEED=7 cargo test --test chaos faults` injects that many faults,
//! chosen by that seed; 20 in the normal run. The seed is printed, and what was done is in the
//! message of a failure.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::cluster::{Cluster, Host, PATIENCE, Shape};
use common::proxy::Mode;
use common::{difference, floodmark, sorted, write};
use floodmark::telemetry::clock::monotonic;
use serde_json::Value;

/// Wall time that a fault and what follows it take, about: so much input there is.
const MS_PER_FAULT: u64 = 900;
/// Bids a second.
const RATE: u64 = 3_000;
/// A process that is silent for so long is lost to the others.
const SILENCE: Duration = Duration::from_secs(1);

/// Numbers that look random and are the same for the same seed (an LCG).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn pause(&mut self, ms_max: usize) {
        thread::sleep(Duration::from_millis(self.below(ms_max) as u64));
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => otherwise,
    }
}

// -- jobs and what they must give ----------------------------------------------------------------

/// Bids by window, by bidder and by auction, to sinks of two kinds and a view. `rate`: how fast the
/// bids come; what is computed does not depend on it.
fn bids(events: u64, rate: Option<u64>) -> String {
    let rate = rate.map(|rate| format!(", 'rate' = '{rate}'")).unwrap_or_default();
    format!(
        "SET 'snapshot.interval' = '200 ms';
         CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3),
           WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND)
         WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'events-per-second' = '1000',
           'events' = '{events}'{rate});
         CREATE TABLE counted (window_end TIMESTAMP(3), auction BIGINT, bids BIGINT)
         WITH ('connector' = 'filesystem', 'path' = 'out/counted', 'format' = 'csv');
         CREATE TABLE bidders (bidder BIGINT, n BIGINT, s BIGINT, PRIMARY KEY (bidder) NOT ENFORCED)
         WITH ('connector' = 'filesystem', 'path' = 'out/bidders', 'format' = 'debezium-json');
         CREATE MATERIALIZED VIEW per_auction AS
         SELECT auction, COUNT(*) AS bids, MAX(price) AS highest FROM bid GROUP BY auction;
         INSERT INTO counted
         SELECT window_end, auction, COUNT(*) AS bids
         FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND))
         GROUP BY window_start, window_end, auction;
         INSERT INTO bidders SELECT bidder, COUNT(*), SUM(price) FROM bid WHERE bidder % 7 = 0
         GROUP BY bidder;"
    )
}

/// Sales from files that appear in a folder, and returns that are sent over HTTP.
const SHOPS: &str = "
    SET 'snapshot.interval' = '200 ms';
    CREATE TABLE sales (shop STRING, amount BIGINT) WITH ('connector' = 'filesystem',
      'path' = 'sales', 'format' = 'json', 'source.monitor-interval' = '50 ms');
    CREATE TABLE returned (shop STRING, amount BIGINT) WITH ('connector' = 'http');
    CREATE MATERIALIZED VIEW sold AS
    SELECT shop, COUNT(*) AS n, SUM(amount) AS amount FROM sales GROUP BY shop;
    CREATE MATERIALIZED VIEW came_back AS
    SELECT shop, COUNT(*) AS n, SUM(amount) AS amount FROM returned GROUP BY shop;";

/// All files that a job has written, without those that are not its output.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if path.is_dir() {
                open.push(path);
            } else if name.is_some_and(|name| !name.starts_with('.')) {
                let bytes = fs::read(&path).expect("a file can be read");
                found.insert(path.strip_prefix(dir).expect("inside").to_path_buf(), bytes);
            }
        }
    }
    found
}

/// What one process gives that nobody disturbs: the view, sorted, and the files.
struct Expected {
    view: String,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Expected {
    fn of(events: u64) -> Expected {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "job.sql", bids(events, None) + "SELECT * FROM per_auction;");
        let args = ["run", "--workers", "2", "--format", "csv", "job.sql"];
        let view = sorted(&floodmark(dir.path(), &args).success());
        assert!(view.lines().count() > 20, "{view}");
        let files = files(&dir.path().join("out"));
        assert!(files.len() >= 2, "{:?}", files.keys());
        Expected { view, files }
    }

    /// Waits for the end of the job and compares.
    fn check(&self, cluster: &Cluster, dir: &Path, patience: Duration, what: &str) {
        let began = monotonic();
        loop {
            let job = cluster.peek(0, "/v1/jobs/bids").unwrap_or(Value::Null);
            assert_ne!(job["state"], "failed", "{what}: {job}\n{}", cluster.logs());
            if job["state"] == "finished" {
                break;
            }
            let waited = began.elapsed();
            assert!(waited < patience, "{what}: no end: {job}\n{}", cluster.logs());
            thread::sleep(Duration::from_millis(50));
        }
        for process in 0..cluster.processes() {
            let path = "/v1/views/per_auction?limit=1000000";
            let view = sorted(&cluster.get_csv(process, path).ok().body);
            let differs = difference(&self.view, &view);
            assert!(differs.is_none(), "{what}: the view differs: {differs:?}");
        }
        let found = files(&dir.join("out"));
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&self.files), "{what}: other files");
        for (path, bytes) in &self.files {
            let texts = [bytes, &found[path]].map(|bytes| String::from_utf8_lossy(bytes));
            let differs = difference(&texts[0], &texts[1]);
            assert!(differs.is_none(), "{what}: {} differs: {differs:?}", path.display());
            assert!(*bytes == found[path], "{what}: {} differs", path.display());
        }
    }
}

/// Feeds the job of the shops, and knows what its views must hold.
#[derive(Default)]
struct Shops {
    sold: BTreeMap<String, (u64, u64)>,
    came_back: BTreeMap<String, (u64, u64)>,
    sent: u64,
}

impl Shops {
    fn add(to: &mut BTreeMap<String, (u64, u64)>, shop: &str, amount: u64) {
        let (n, sum) = to.entry(shop.to_owned()).or_default();
        *n += 1;
        *sum += amount;
    }

    /// A file more.
    fn sell(&mut self, dir: &Path, dice: &mut Dice) {
        let mut text = String::new();
        for _ in 0..1 + dice.below(200) {
            let (shop, amount) = (format!("shop {}", dice.below(9)), dice.below(1000) as u64);
            Self::add(&mut self.sold, &shop, amount);
            text += &format!("{{\"shop\":\"{shop}\",\"amount\":{amount}}}\n");
        }
        self.sent += 1;
        let name = format!("{:06}.jsonl", self.sent);
        let (hidden, path) = (dir.join(format!("sales/.{name}")), dir.join("sales").join(&name));
        fs::write(&hidden, text).expect("a file");
        fs::rename(hidden, path).expect("a rename");
    }

    /// Rows over HTTP through any process, sent until they are acknowledged.
    fn give_back(&mut self, cluster: &Cluster, dice: &mut Dice) {
        let mut body = String::new();
        for _ in 0..1 + dice.below(20) {
            let (shop, amount) = (format!("shop {}", dice.below(9)), dice.below(1000) as u64);
            Self::add(&mut self.came_back, &shop, amount);
            body += &format!("{{\"shop\":\"{shop}\",\"amount\":{amount}}}\n");
        }
        self.sent += 1;
        let headers = format!(
            "Content-Type: application/x-ndjson\r\nIdempotency-Key: request {}\r\n",
            self.sent
        );
        let began = monotonic();
        loop {
            let process = dice.below(cluster.processes());
            let path = ("POST", "/v1/tables/returned/rows");
            let last = match cluster.try_request(process, path, &headers, &body) {
                Ok(answer) if answer.status == 200 => return,
                // Whoever is away comes back.
                Ok(answer) if [404, 429, 500, 502, 503, 504].contains(&answer.status) => {
                    answer.body
                }
                Ok(answer) => panic!("{} {}\n{}", answer.status, answer.body, cluster.logs()),
                Err(error) => error.to_string(),
            };
            assert!(began.elapsed() < PATIENCE, "rows are not taken: {last}\n{}", cluster.logs());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the views hold what was given, once each.
    fn check(&self, cluster: &Cluster, what: &str) {
        for (view, expected) in [("sold", &self.sold), ("came_back", &self.came_back)] {
            let line = |(shop, (n, sum)): (&String, &(u64, u64))| format!("{shop},{n},{sum}\n");
            let expected: String = expected.iter().map(line).collect();
            let expected = sorted(&format!("shop,n,amount\n{expected}"));
            let (began, path) = (monotonic(), format!("/v1/views/{view}?limit=1000"));
            loop {
                let found = cluster.try_request(0, ("GET", &path), "Accept: text/csv\r\n", "");
                let found = found.map_or(String::new(), |answer| sorted(&answer.body));
                let Some(differs) = difference(&expected, &found) else { break };
                let waited = began.elapsed();
                assert!(waited < PATIENCE, "{what}: {view}: {differs}\n{}", cluster.logs());
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

// -- faults --------------------------------------------------------------------------------------

/// Does something bad and puts it right again; says what.
fn inject(cluster: &mut Cluster, dice: &mut Dice) -> String {
    let process = dice.below(cluster.processes());
    let other = (process + 1 + dice.below(cluster.processes() - 1)) % cluster.processes();
    let long = SILENCE + Duration::from_millis(700);
    match dice.below(10) {
        0 | 1 => {
            let engine = cluster.signal_engine(process, "KILL");
            format!("SIGKILL of engine {process} ({engine:?})")
        }
        2 => {
            cluster.kill(process);
            dice.pause(300);
            cluster.launch(process, |_| {});
            format!("supervisor and engine {process} killed and started")
        }
        3 => {
            let stopped = cluster.signal_engine(process, "STOP");
            thread::sleep(long);
            if let Some(pid) = stopped {
                // Not whoever has taken its place.
                Command::new("kill")
                    .args(["-CONT", &pid.to_string()])
                    .stderr(Stdio::null())
                    .status()
                    .ok();
            }
            format!("SIGSTOP of engine {process} ({stopped:?}) for {long:?}")
        }
        4 => {
            cluster.between(process, other, Mode::Cut);
            dice.pause(400);
            cluster.between(process, other, Mode::Pass);
            format!("connections between {process} and {other} cut")
        }
        5 => {
            cluster.around(process, Mode::Blackhole);
            thread::sleep(long);
            cluster.around(process, Mode::Pass);
            format!("silence around {process} for {long:?}")
        }
        6 => {
            let latency = Duration::from_millis(1 + dice.below(40) as u64);
            cluster.around(process, Mode::Slow { latency, bytes_per_second: 2 << 20 });
            dice.pause(1500);
            cluster.around(process, Mode::Pass);
            format!("slow network around {process}: {latency:?} more")
        }
        7 | 8 => {
            let mut moments = Vec::new();
            for _ in 0..2 {
                cluster.signal_engine(process, "KILL");
                let before = dice.below(600) as u64;
                thread::sleep(Duration::from_millis(before));
                moments.push(before);
            }
            let engine = cluster.signal_engine(other, "KILL");
            format!(
                "SIGKILL of engine {process}, while it comes back, after {moments:?} ms, \
                 of {other} ({engine:?})"
            )
        }
        _ => {
            for process in 0..cluster.processes() {
                cluster.signal_engine(process, "KILL");
            }
            "SIGKILL of all engines".to_owned()
        }
    }
}

#[test]
fn faults_change_no_byte_of_any_result() {
    let faults = number("FLOODMARK_FAULTS", 20);
    let seed = number("FLOODMARK_SEED", 0x5eed);
    println!("FLOODMARK_FAULTS={faults} FLOODMARK_SEED={seed}");
    let mut dice = Dice(seed);
    let events = faults * MS_PER_FAULT * RATE / 1000;
    let expected = Expected::of(events);
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("sales")).expect("a folder");
    let mut shape = Shape::new(3, 1);
    shape.proxied = true;
    shape.more = silence();
    let mut cluster = Cluster::start(dir.path(), &shape);
    cluster.submit(1, "bids", &bids(events, Some(RATE)));
    cluster.submit(2, "shops", SHOPS);
    let mut shops = Shops::default();
    let mut done = Vec::new();
    for _ in 0..faults {
        shops.sell(dir.path(), &mut dice);
        dice.pause(400);
        done.push(inject(&mut cluster, &mut dice));
        println!("{}", done[done.len() - 1]);
        shops.give_back(&cluster, &mut dice);
        cluster.wait_up();
    }
    let what = format!("FLOODMARK_SEED={seed} after {done:#?}");
    shops.check(&cluster, &what);
    let all = Duration::from_millis(2 * faults * MS_PER_FAULT);
    expected.check(&cluster, dir.path(), PATIENCE + all, &what);
    cluster.stop();
}

/// The arguments that make processes notice soon that one is silent, and come back soon however
/// often they are killed.
fn silence() -> Vec<String> {
    let silence = format!("{}ms", SILENCE.as_millis());
    let args = ["--peer-timeout", &silence, "--restart-delay-max", "300ms"];
    args.map(str::to_owned).to_vec()
}

// -- the disk ------------------------------------------------------------------------------------

fn succeeds(command: &str, args: &[&str]) -> bool {
    let run = Command::new(command).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// A small file system, if this test may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(at).expect("a folder");
        let path = at.display().to_string();
        let args = ["-t", "tmpfs", "-o", "size=24m", "tmpfs", &path];
        succeeds("mount", &args).then(|| SmallDisk(at.to_owned()))
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let ballast = vec![0_u8; 32 << 20];
        fs::write(self.0.join("ballast"), ballast).expect_err("the disk is small");
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).expect("the ballast was there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        succeeds("umount", &["-l", &self.0.display().to_string()]);
    }
}

/// The leader has no disk for a while: its job goes on, and what it computed anew after the next
/// kill is the same.
#[test]
fn a_full_disk_of_one_process_costs_no_row() {
    let events = 5 * RATE;
    let expected = Expected::of(events);
    let dir = tempfile::tempdir().expect("a folder");
    let disk = SmallDisk::mount(&dir.path().join("data-0"));
    let mut shape = Shape::new(2, 1);
    shape.more = silence();
    let cluster = Cluster::start(dir.path(), &shape);
    cluster.submit(1, "bids", &bids(events, Some(RATE)));
    cluster.wait_for(1, "/v1/jobs/bids", |job| !job["snapshots"]["last"].is_null());
    match &disk {
        Some(disk) => disk.fill(),
        None => {
            // Without a disk of its own: no file of it may grow.
            let engine = cluster.engine(0).expect("it runs").to_string();
            assert!(succeeds("prlimit", &["--pid", &engine, "--fsize=4096:4096"]), "prlimit");
        }
    }
    thread::sleep(Duration::from_millis(1500));
    if let Some(disk) = &disk {
        disk.empty();
    }
    cluster.signal_engine(0, "KILL");
    cluster.wait_up();
    expected.check(&cluster, dir.path(), PATIENCE, "after a full disk");
    cluster.stop();
}

// -- the network ---------------------------------------------------------------------------------

/// A second network on this machine, if this test may make one: a namespace and a wire to it.
struct Network {
    name: String,
    inside: String,
    outside: String,
}

impl Network {
    fn make() -> Option<Network> {
        let number = std::process::id() % 200;
        let name = format!("fm{}", std::process::id() % 100_000);
        let network = Network {
            inside: format!("10.213.{number}.2"),
            outside: format!("10.213.{number}.1"),
            name: name.clone(),
        };
        let (near, far) = (format!("{name}a"), format!("{name}b"));
        let addresses = [&network.outside, &network.inside].map(|ip| format!("{ip}/24"));
        let steps: [&[&str]; 8] = [
            &["netns", "add", &name],
            &["link", "add", &near, "type", "veth", "peer", "name", &far],
            &["link", "set", &far, "netns", &name],
            &["addr", "add", &addresses[0], "dev", &near],
            &["link", "set", &near, "up"],
            &["-n", &name, "addr", "add", &addresses[1], "dev", &far],
            &["-n", &name, "link", "set", &far, "up"],
            &["-n", &name, "link", "set", "lo", "up"],
        ];
        steps.iter().all(|step| succeeds("ip", step)).then_some(network)
    }

    fn wire(&self, state: &str) {
        assert!(succeeds("ip", &["link", "set", &format!("{}a", self.name), state]));
    }

    /// Delays every packet; not every kernel can.
    fn delay(&self, ms: u32) -> bool {
        let device = format!("{}a", self.name);
        let delay = format!("{ms}ms");
        succeeds("tc", &["qdisc", "replace", "dev", &device, "root", "netem", "delay", &delay])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        succeeds("ip", &["link", "del", &format!("{}a", self.name)]);
        succeeds("ip", &["netns", "del", &self.name]);
    }
}

#[test]
fn a_network_that_falls_apart_changes_no_byte() {
    let Some(network) = Network::make() else {
        println!("no network namespaces here: the proxies of the other test stand for them");
        return;
    };
    let events = 8 * RATE;
    let expected = Expected::of(events);
    let dir = tempfile::tempdir().expect("a folder");
    let mut shape = Shape::new(3, 1);
    shape.more = silence();
    let here = || Host { namespace: None, ip: network.outside.clone() };
    let there = Host { namespace: Some(network.name.clone()), ip: network.inside.clone() };
    shape.hosts = vec![here(), here(), there];
    let cluster = Cluster::start(dir.path(), &shape);
    cluster.submit(2, "bids", &bids(events, Some(RATE)));
    for round in 0..2 {
        thread::sleep(Duration::from_millis(500));
        let before = cluster.epoch().expect("the cluster is up");
        network.wire("down");
        thread::sleep(SILENCE + Duration::from_millis(500));
        network.wire("up");
        cluster.wait_up();
        let after = cluster.epoch().expect("the cluster is up");
        assert!(after > before, "round {round}: nobody noticed\n{}", cluster.logs());
    }
    let before = cluster.epoch();
    if network.delay(30) {
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(cluster.epoch(), before, "a slow network is no lost one\n{}", cluster.logs());
    }
    expected.check(&cluster, dir.path(), PATIENCE, "after two partitions");
    cluster.stop();
}
