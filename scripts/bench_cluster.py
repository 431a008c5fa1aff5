"""What a cluster costs and how fast it heals, measured on real processes of the release binary.

    scripts/bench cluster [--events N] [--cases ratio,idle,latency,recovery,cost] [--repeat R]
                          [--rows N] [--shapes 1x1,2x2,..] [--binary PATH] [--out FILE]

ratio      q0, q5 and q8 over JSON files (two part files a table): 2 processes of 1 worker against
           1 process of 2 workers, in turn; the ratio of the least wall times
idle       CPU of a cluster of 2 and of 3 processes that has nothing to do, without a job, with one
           that waits for rows, and with one whose time is the clock, over 10 seconds
latency    one row over HTTP to process 1 until a view read from process 1 shows it: p50 and p99
recovery   SIGKILL of a process that holds its part of 100 MB of state, of process 1 and then of
           process 0: until a row sent after the kill is seen in a view
cost       by processes and workers: bytes a second between the processes and CPU of a job that
           waits, and of one whose time moves ten times a second; bytes a record for a job that
           exchanges every row. docs/cluster-cost.md has the figures and what follows from them

--events is that of `ratio` (default 10 million), --rows the changes of `latency` (default 300),
--keys the state of `recovery` (default a million, 100 MB), --records what `cost` exchanges
(default a million).
"""

import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from bench_options import listed, parsed_of, parser_of
from local_cluster import Cluster, free_ports

CASES = ["ratio", "idle", "latency", "recovery", "cost"]
QUERIES = ["q0", "q5", "q8"]
SHAPES = ["1x1", "1x2", "1x4", "1x8", "2x1", "2x2", "2x4", "4x1", "4x2"]
SECRET = {"FLOODMARK_CLUSTER_SECRET": "a secret of measurements alone"}
# A key, a count and a text of 88 bytes a row: a million of them are 100 MB.
STATE_TEXT = 8

SENT = """
SET 'time_resolution' = '{tick}';
CREATE TABLE given (id BIGINT) WITH ('connector' = 'http');
CREATE MATERIALIZED VIEW received AS SELECT COUNT(*) AS n, MAX(id) AS last FROM given;
"""

TIMED = """
CREATE TABLE given (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'http');
CREATE MATERIALIZED VIEW received AS SELECT COUNT(*) AS n, MAX(id) AS last FROM given;
"""

STATE = """
SET 'snapshot.interval' = '2 s';
CREATE TABLE given (id BIGINT) WITH ('connector' = 'http');
CREATE TABLE rows_before (id BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '{rows}',
  'rows-per-second' = '100000000', 'partitions' = '2', 'fields.id.kind' = 'sequence',
  'fields.id.start' = '0', 'fields.id.end' = '{rows}');
CREATE TABLE nowhere (id BIGINT, n BIGINT, t STRING) WITH ('connector' = 'blackhole');
CREATE MATERIALIZED VIEW received AS SELECT COUNT(*) AS n, MAX(id) AS last FROM given;
CREATE MATERIALIZED VIEW held AS SELECT COUNT(*) AS n, SUM(n) AS s FROM (
  SELECT id, COUNT(*) AS n, MAX(REPEAT(CAST(id + 100000000 AS STRING) || '--', {text})) AS t
  FROM (SELECT id FROM rows_before UNION ALL SELECT id FROM given) AS both_of_them GROUP BY id
) AS by_id WHERE t <> '';
"""

TICKING = """
CREATE TABLE ticks (n BIGINT, ts AS TO_TIMESTAMP_LTZ(n * 10, 3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'datagen', 'rows-per-second' = '100', 'partitions' = '1',
  'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '1000000000000');
CREATE MATERIALIZED VIEW ticked AS SELECT n % 7 AS k, COUNT(*) AS c FROM ticks GROUP BY n % 7;
"""

EXCHANGED = """
CREATE TABLE numbers (n BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(n / 100, 3),
  WATERMARK FOR ts AS ts)
WITH ('connector' = 'datagen', 'rows-per-second' = '{rate}', 'partitions' = '{partitions}',
  'number-of-rows' = '{rows}', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0',
  'fields.n.end' = '{rows}', 'fields.k.min' = '0', 'fields.k.max' = '9999');
CREATE TABLE totals (k BIGINT, n BIGINT, s BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO totals SELECT k, COUNT(*), SUM(n) FROM numbers GROUP BY k;
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def table(title, names, rows):
    """Markdown on standard output."""
    print(f"\n{title}\n")
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row) + " |")
    sys.stdout.flush()


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class ClusterBench:
    def __init__(self, arguments, binary, bench):
        self.arguments = arguments
        self.binary = binary
        self.bench = bench
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="floodmark-cluster-"))
        self.found = {}

    def cluster(self, processes, workers, *more):
        folder = self.work / f"cluster-{time.monotonic_ns()}"
        return Cluster(self.binary, folder, processes, workers, more)

    # -- throughput -------------------------------------------------------------------------------

    def run_on(self, script, processes, workers):
        """Wall and CPU seconds until all processes have ended."""
        commands = [[self.binary, "run", "--workers", str(workers), str(script)]]
        if processes > 1:
            peers = ",".join(f"127.0.0.1:{port}" for port in free_ports(processes))
            commands = [[self.binary, "run", "--peers", peers, "--process", str(process),
                         "--workers", str(workers), str(script)] for process in range(processes)]
        start = time.perf_counter()
        children = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                     env={**os.environ, **SECRET}) for command in commands]
        cpu, said = 0.0, [b""] * len(children)

        def read(number):
            said[number] = children[number].stderr.read()

        readers = [threading.Thread(target=read, args=(n,)) for n in range(len(children))]
        for reader in readers:
            reader.start()
        for child in children:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            cpu += usage.ru_utime + usage.ru_stime
        wall = time.perf_counter() - start
        for reader in readers:
            reader.join()
        for child, text in zip(children, said):
            if child.returncode != 0:
                tail = text.decode(errors="replace").strip()[-500:]
                sys.exit(f"a process ended with {child.returncode}: {tail}")
        return wall, cpu

    def ratio(self):
        rows = []
        for query in QUERIES:
            script = self.work / f"{query}.sql"
            script.write_text(self.bench.insert(query, "json-2"))
            # The files are read once before, so that no run is the one to read the disk.
            self.run_on(script, 1, 2)
            runs = {shape: [] for shape in [(1, 2), (2, 1)]}
            for turn in range(self.arguments.repeat):
                for shape in list(runs)[::1 if turn % 2 == 0 else -1]:
                    runs[shape].append(self.run_on(script, *shape))
                    say(f"  {query} on {shape[0]}x{shape[1]}: {runs[shape][-1][0]:.2f} s")
            one, two = (min(runs[shape]) for shape in [(1, 2), (2, 1)])
            rows.append((query, f"{one[0]:.2f}", f"{one[1]:.2f}", f"{two[0]:.2f}", f"{two[1]:.2f}",
                         f"{one[0] / two[0]:.2f}"))
        self.found["ratio"] = rows
        table(f"{self.arguments.events} events, the least of {self.arguments.repeat} runs",
              ["query", "1x2 wall s", "CPU s", "2x1 wall s", "CPU s", "throughput 2x1 to 1x2"],
              rows)

    # -- an idle cluster --------------------------------------------------------------------------

    def idle(self):
        rows = []
        jobs = {"no job": None, "a job that waits for rows": TIMED,
                "a job whose time is the clock": SENT.format(tick="100 ms")}
        for processes in [2, 3]:
            for what, job in jobs.items():
                with self.cluster(processes, 1) as cluster:
                    cluster.start()
                    if job is not None:
                        cluster.submit("sent", job)
                    time.sleep(5)
                    before, start = cluster.cpu(), time.monotonic()
                    time.sleep(10)
                    share = (cluster.cpu() - before) / (time.monotonic() - start)
                    rows.append((f"{processes}x1", what, f"{100 * share:.2f} %"))
                    cluster.stop()
        self.found["idle"] = rows
        table("CPU of an idle cluster, all processes together, of one core",
              ["shape", "with", "CPU"], rows)

    # -- latency ----------------------------------------------------------------------------------

    def latency(self):
        rows = []
        for tick in ["1 ms", "100 ms"]:
            with self.cluster(2, 1) as cluster:
                cluster.start()
                cluster.submit("sent", SENT.format(tick=tick))
                taken = [self.seen(cluster, number, cluster.connection(1))
                         for number in range(20 + self.arguments.rows)][20:]
                rows.append((tick, f"{percentile(taken, 50):.1f}", f"{percentile(taken, 99):.1f}",
                             f"{max(taken):.1f}"))
                cluster.stop()
        self.found["latency"] = rows
        table(f"{self.arguments.rows} rows, one after the other, through process 1 of 2: from "
              "sending to being read, in ms",
              ["time_resolution", "p50", "p99", "max"], rows)

    def seen(self, cluster, number, connection):
        """Milliseconds from sending a row to reading a view that shows it."""
        start = time.perf_counter()
        connection.request("POST", "/v1/tables/given/rows", json.dumps({"id": number}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"a row is not taken: {body.decode()}")
        least = json.loads(body)["min_time_ms"]
        behind = f"?min_time={least}" if least is not None else ""
        while True:
            connection.request("GET", f"/v1/views/received{behind}",
                               headers={"Accept": "application/json"})
            rows = json.loads(connection.getresponse().read()).get("rows")
            if rows and last_of(rows[0]) >= number:
                break
        connection.close()
        return (time.perf_counter() - start) * 1000

    # -- recovery ---------------------------------------------------------------------------------

    def recovery(self):
        rows = []
        with self.cluster(2, 1) as cluster:
            cluster.start()
            cluster.submit("state", STATE.format(rows=self.arguments.keys, text=STATE_TEXT))
            self.wait_held(cluster)
            taken = cluster.asked("/v1/jobs/state/snapshots", {}, method="POST")
            size = self.snapshot_bytes(cluster, taken)
            number = 0
            for process in [1, 0] * self.arguments.repeat:
                time.sleep(8)
                number += 1
                start = time.perf_counter()
                cluster.signal_engine(process, signal.SIGKILL)
                self.send_until_taken(cluster, number)
                while True:
                    status, told = cluster.request("/v1/views/received", process=1, timeout=5)
                    if status == 200 and told["rows"] and last_of(told["rows"][0]) >= number:
                        break
                    time.sleep(0.005)
                rows.append((process, f"{time.perf_counter() - start:.2f}"))
                say(f"  SIGKILL of process {process}: back in {rows[-1][1]} s")
            cluster.stop()
        self.found["recovery"] = {"snapshot_bytes": size, "runs": rows}
        wide = self.arguments.keys * (16 + 11 * STATE_TEXT)
        table(f"SIGKILL with {self.arguments.keys} keys, {wide / 1e6:.0f} MB of state "
              f"({size / 1e6:.0f} MB stored): until a row sent afterwards is seen",
              ["process killed", "back in s"], rows)

    def wait_held(self, cluster):
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            status, told = cluster.request("/v1/views/held", timeout=30)
            if status == 200 and told["rows"] and self.arguments.keys in values_of(told["rows"][0]):
                return
            time.sleep(0.2)
        sys.exit(f"the state is not there after 300 s\n{cluster.logs()}")

    def snapshot_bytes(self, cluster, taken):
        told = cluster.asked(f"/v1/jobs/state/snapshots/{taken['id']}")
        return told.get("bytes") or told.get("size_bytes") or told.get("size") or 0

    def send_until_taken(self, cluster, number):
        headers = {"Idempotency-Key": f"after kill {number}"}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status, _ = cluster.request("/v1/tables/given/rows", {"id": number}, 1, headers,
                                        timeout=5)
            if status == 200:
                return
            time.sleep(0.005)
        sys.exit(f"not back after 60 s\n{cluster.logs()}")

    # -- how the cost grows -----------------------------------------------------------------------

    def cost(self):
        rows = []
        for shape in self.arguments.shapes:
            processes, workers = (int(part) for part in shape.split("x"))
            idle = self.traffic(processes, workers, SENT.format(tick="100 ms"), 6)
            ticking = self.traffic(processes, workers, TICKING, 6)
            exchanged = self.exchanged(processes, workers)
            rows.append((processes, workers, processes * workers, *idle, *ticking, *exchanged))
            say("  " + ", ".join(str(value) for value in rows[-1]))
        self.found["cost"] = rows
        table("CPU in percent of one core; bytes between all processes",
              ["processes", "workers each", "workers", "idle CPU", "idle B/s", "ticking CPU",
               "ticking B/s", "B/record", "CPU µs/record"], rows)

    def traffic(self, processes, workers, sql, seconds):
        """CPU in percent, and bytes a second between the processes, of a job that goes on."""
        with self.cluster(processes, workers) as cluster:
            cluster.start()
            cluster.submit("job", sql)
            time.sleep(3)
            cpu, sent, start = cluster.cpu(), cluster.sent_bytes(), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - start
            found = ((cluster.cpu() - cpu) * 100 / took, (cluster.sent_bytes() - sent) / took)
            cluster.stop()
        return f"{found[0]:.2f}", f"{found[1]:.0f}"

    def exchanged(self, processes, workers):
        """Bytes between processes, and CPU, a record, where every row goes to the worker of its key."""
        count = self.arguments.records
        sql = EXCHANGED.format(rate=100_000_000, rows=count, partitions=processes * workers)
        with self.cluster(processes, workers) as cluster:
            cluster.start()
            time.sleep(1)
            cpu, sent = cluster.cpu(), cluster.sent_bytes()
            cluster.submit("job", sql)
            deadline = time.monotonic() + 120
            while cluster.asked("/v1/jobs/job")["state"] == "running":
                if time.monotonic() > deadline:
                    sys.exit(f"a job of {count} rows does not end\n{cluster.logs()}")
                time.sleep(0.05)
            found = (cluster.sent_bytes() - sent) / count, (cluster.cpu() - cpu) * 1e6 / count
            cluster.stop()
        return f"{found[0]:.1f}", f"{found[1]:.2f}"

    # -- the run ----------------------------------------------------------------------------------

    def run(self):
        try:
            for case in self.arguments.cases:
                say(f"== {case}")
                getattr(self, case)()
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
        if self.arguments.out:
            pathlib.Path(self.arguments.out).write_text(json.dumps(self.found, indent=2) + "\n")


def values_of(row):
    return [int(value) for value in (row.values() if isinstance(row, dict) else row)
            if value is not None]


def last_of(row):
    """The value of the last column; -1 before any row."""
    value = (list(row.values()) if isinstance(row, dict) else row)[-1]
    return -1 if value is None else int(value)


def main(arguments, bench_of):
    """`bench_of` makes the bench of the queries for a number of events, its binary built."""
    parser = parser_of("cluster", __doc__, CASES)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--shapes", type=listed, default=SHAPES)
    parsed = parsed_of(parser, arguments, CASES)
    bench = bench_of(parsed.events, parsed.binary)
    ClusterBench(parsed, bench.floodmark, bench).run()
