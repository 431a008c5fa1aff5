"""What snapshots cost and what they save, measured on real processes of the release binary.

    scripts/bench snapshots [--events N] [--cases q5,keys,restore,memory] [--repeat R]
                            [--workers W] [--binary PATH] [--out FILE]

q5, keys   throughput without snapshots, with one in an hour and with one a second, in turn; the
           longest that a worker was kept from its work; bytes written for each byte of state that
           changed. q5 reads files of Nexmark bids; `keys` counts and sums over as many keys as
           half of the events (five million), chosen at random, so that they change all the time
restore    as many keys as events, a kill -9, and a second start: how long until the state is
           loaded, and from the kill to the first new row that is printed
memory     a state of five times `memory.budget`: the same changes as without a budget, and the
           peak of resident memory

--events is that of `keys` and `restore` (default 10 million); q5 reads ten times as many.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from bench_options import parsed_of, parser_of

CASES = ["q5", "keys", "restore", "memory"]
# How often snapshots are taken; the second says what they cost that never come.
MODES = [("none", None), ("one an hour", "1 h"), ("one a second", "1 s")]
SECTORS = 512
MEGABYTE = 1e6

KEYED = """
CREATE TABLE changes (id BIGINT, k BIGINT, v BIGINT,
  ts AS TO_TIMESTAMP_LTZ(id / 10, 3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'datagen', 'rows-per-second' = '{rate}', 'number-of-rows' = '{rows}',
  'partitions' = '{partitions}', 'fields.id.kind' = 'sequence', 'fields.id.start' = '0',
  'fields.id.end' = '{rows}', 'fields.k.min' = '0', 'fields.k.max' = '{last}',
  'fields.v.min' = '0', 'fields.v.max' = '100000');
CREATE TABLE totals (k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = '{sink}');
"""

TOTALS = "INSERT INTO totals SELECT k, COUNT(*) AS n, SUM(v) AS total FROM changes GROUP BY k"

# Each key once, then again and again; the rows printed hang on the whole state.
FILLED = """
CREATE TABLE changes (id BIGINT, ts AS TO_TIMESTAMP_LTZ(id / 10, 3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'datagen', 'rows-per-second' = '1000000000', 'fields.id.kind' = 'sequence',
  'fields.id.start' = '0', 'fields.id.end' = '1000000000000');
CREATE TABLE totals (k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = 'print');
INSERT INTO totals
SELECT k, COUNT(*) AS n, SUM(v) AS total
FROM (SELECT MOD(id * 7919, {keys}) AS k, id AS v FROM changes) AS numbered GROUP BY k
HAVING COUNT(*) > 1 AND MOD(SUM(v), 1000) = 0;
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, script, work, env=None):
    """Runs a script to its end; what it took, and what it said of its snapshots."""
    path = work / "job.sql"
    path.write_text(script)
    errors = work / "errors"
    with open(errors, "wb") as err:
        start = time.perf_counter()
        child = subprocess.Popen([*command, str(path)], stdout=subprocess.DEVNULL, stderr=err,
                                 env=env)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
    said = errors.read_text(errors="replace")
    if child.returncode != 0:
        tail = "\n    ".join(said.strip().splitlines()[-6:])
        sys.exit(f"the run failed with exit code {child.returncode}:\n    {tail}")
    number = lambda pattern: next(iter(re.findall(pattern, said)), None)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime,
            "peak": usage.ru_maxrss * 1024, "disk": usage.ru_oublock * SECTORS,
            "taken": int(number(r"(\d+) snapshots taken") or 0),
            "pause_ms": float(number(r"for ([\d.]+) ms at most") or 0),
            "written": int(number(r"wrote (\d+) bytes") or 0),
            "changed": int(number(r"bytes for (\d+) that") or 0),
            "updates": number(r"output totals: (\d+) updates"), "said": said}


class Snapshots:
    def __init__(self, arguments, binary, bench):
        self.arguments = arguments
        self.binary = binary
        self.bench = bench
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="floodmark-snapshots-"))
        self.data = self.work / "data"
        self.found = []

    def command(self, interval, *settings):
        """One with snapshots has an empty data directory."""
        shutil.rmtree(self.data, ignore_errors=True)
        command = [self.binary, "run", "--workers", str(self.arguments.workers)]
        if interval:
            command += ["--data-dir", str(self.data), "--set", f"snapshot.interval={interval}"]
        for setting in settings:
            command += ["--set", setting]
        return command

    # -- throughput, pauses, bytes ----------------------------------------------------------------

    def q5(self):
        """Copies of the bids side by side, so that a run lasts for several snapshots."""
        query = self.bench.insert("q5", "json-1")
        bids = self.bench.path("json-1", "bid")
        folder = self.work / "bids"
        folder.mkdir()
        for copy in range(10):
            (folder / f"bid-{copy}.jsonl").symlink_to(bids)
        events = 10 * sum(1 for _ in open(bids, "rb"))
        self.throughput("q5", query.replace(str(bids), str(folder)), events)

    def keys(self):
        events = self.arguments.events
        script = KEYED.format(rate=10**9, rows=events, partitions=self.arguments.workers,
                              last=max(events // 2, 1) - 1, sink="blackhole") + TOTALS + ";\n"
        self.throughput("keys", script, events)

    def throughput(self, case, script, events):
        runs = {mode: [] for mode, _ in MODES}
        for turn in range(self.arguments.repeat):
            # The order turns round, so that what a machine does slowly hits all alike.
            for mode, interval in MODES[::1 if turn % 2 == 0 else -1]:
                runs[mode].append(run(self.command(interval), script, self.work))
                last = runs[mode][-1]
                say(f"  {case}, {mode}: {last['wall']:.2f} s, {last['cpu']:.2f} CPU s, "
                    f"{last['taken']} snapshots")
        best = {mode: min(r["wall"] for r in of) for mode, of in runs.items()}
        middle = {mode: statistics.median(r["wall"] for r in of) for mode, of in runs.items()}
        cpu = {mode: min(r["cpu"] for r in of) for mode, of in runs.items()}
        for mode, _ in MODES:
            of = runs[mode]
            changed = sum(r["changed"] for r in of)
            self.found.append({
                "case": case, "snapshots": mode, "events": events, "wall": best[mode],
                "events_per_second": events / best[mode], "cpu": cpu[mode],
                "ratio": best["none"] / best[mode], "ratio_median": middle["none"] / middle[mode],
                "ratio_cpu": cpu["none"] / cpu[mode],
                "taken": max(r["taken"] for r in of),
                "pause_ms": max(r["pause_ms"] for r in of),
                "written_per_changed": sum(r["written"] for r in of) / changed if changed else None,
                "disk_per_changed": sum(r["disk"] for r in of) / changed if changed else None,
                "peak": max(r["peak"] for r in of)})
        shutil.rmtree(self.data, ignore_errors=True)

    # -- restart ----------------------------------------------------------------------------------

    def stored(self):
        """The newest snapshot, once nobody writes any more."""
        text = subprocess.run(
            [self.binary, "snapshots", "list", "--data-dir", str(self.data), "--format", "json"],
            check=True, capture_output=True, text=True).stdout
        return json.loads(text)[-1]

    def started(self, command, script):
        path = self.work / "filled.sql"
        path.write_text(script)
        errors = open(self.work / "errors", "wb")
        return subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, stderr=errors)

    def restore(self):
        keys = self.arguments.events
        script = FILLED.format(keys=keys)
        command = self.command("1 s")
        say(f"  restore: filling {keys} keys")
        first = self.started(command, script)
        # The first row printed says that all keys are there; the next snapshots hold them.
        first.stdout.readline()
        begun, taken = time.perf_counter(), 0
        while time.perf_counter() < begun + 5:
            os.read(first.stdout.fileno(), 1 << 16)
        memory = resident(first.pid)
        killed = time.perf_counter()
        first.send_signal(signal.SIGKILL)
        first.wait()
        again = self.started(command, script)
        row = again.stdout.readline()
        answered = time.perf_counter() - killed
        time.sleep(1)
        restored_memory = resident(again.pid)
        again.send_signal(signal.SIGINT)
        while os.read(again.stdout.fileno(), 1 << 16):
            pass
        again.wait()
        said = (self.work / "errors").read_text(errors="replace")
        match = re.search(r"took back (\d+) rows, (\d+) bytes stored, (\d+) bytes in memory, "
                          r"in (\d+) ms", said)
        if not row or not match:
            sys.exit(f"the second start failed:\n{said}")
        rows, stored, unpacked, millis = map(int, match.groups())
        seconds = max(millis, 1) / 1000
        self.found.append({
            "case": "restore", "keys": keys, "rows": rows, "resident": memory,
            "resident_after": restored_memory, "stored": stored, "unpacked": unpacked,
            "seconds": seconds, "stored_per_second": stored / seconds,
            "unpacked_per_second": unpacked / seconds, "resident_per_second": memory / seconds,
            "seconds_to_result": answered})
        shutil.rmtree(self.data, ignore_errors=True)

    # -- memory -----------------------------------------------------------------------------------

    def memory(self):
        """A fifth of what the state takes by itself is given."""
        events = self.arguments.events
        script = KEYED.format(rate=10**9, rows=events, partitions=self.arguments.workers,
                              last=max(events // 2, 1) - 1, sink="blackhole") + TOTALS + ";\n"
        known = subprocess.run(
            [*self.command(None, "memory.budget=1 GB"), "/dev/null"], capture_output=True, text=True)
        if known.returncode != 0:
            say(f"  memory: left out: {known.stderr.strip().splitlines()[0]}")
            return
        few = re.sub(r"('fields.k.max' = )'\d+'", r"\1'9'", script)
        base = run(self.command("1 h"), few, self.work)["peak"]
        free = run(self.command("1 h"), script, self.work)
        digest = self.digest()
        budget = int((free["peak"] - base) / 5)
        bound = run(self.command("1 h", f"memory.budget={budget} B"), script, self.work)
        same = digest == self.digest() and free["updates"] == bound["updates"]
        self.found.append({
            "case": "memory", "events": events, "budget": budget, "peak": bound["peak"],
            "peak_without": free["peak"], "base": base,
            "peak_over_budget": bound["peak"] / budget, "same": same,
            "slower": bound["wall"] / free["wall"]})
        shutil.rmtree(self.data, ignore_errors=True)

    def digest(self):
        """Says of the run in the data directory what a replay of it finds; its own digests."""
        replay = subprocess.run(
            [self.binary, "replay", "job", "--data-dir", str(self.data)],
            capture_output=True, text=True)
        return replay.returncode == 0 and replay.stdout

    # -- the answer -------------------------------------------------------------------------------

    def table(self):
        """Markdown, a table a kind of case."""
        lines = []
        runs = [f for f in self.found if "snapshots" in f]
        if runs:
            lines += ["| case | snapshots | events/s | of none | median | CPU | taken | "
                      "longest pause ms | written/changed | disk/changed | peak MB |",
                      "|---|---|---|---|---|---|---|---|---|---|---|"]
        for f in runs:
            share = lambda value: "" if value is None else f"{value:.2f}"
            lines.append(
                f"| {f['case']} | {f['snapshots']} | {f['events_per_second']:,.0f} | "
                f"{f['ratio']:.3f} | {f['ratio_median']:.3f} | {f['ratio_cpu']:.3f} | {f['taken']} | "
                f"{f['pause_ms']:.1f} | {share(f['written_per_changed'])} | "
                f"{share(f['disk_per_changed'])} | {f['peak'] / MEGABYTE:,.0f} |")
        for f in self.found:
            if f["case"] == "restore":
                lines += [
                    "", "| restore of | MB | seconds | MB/s |", "|---|---|---|---|",
                    *(f"| {name} | {f[key] / MEGABYTE:,.0f} | {f['seconds']:.2f} | "
                      f"{f[key] / MEGABYTE / f['seconds']:,.0f} |"
                      for name, key in [("bytes stored", "stored"), ("rows unpacked", "unpacked"),
                                        ("resident memory", "resident")]),
                    "", f"kill -9 to the first new row, {f['keys']:,} keys, "
                        f"{f['resident'] / MEGABYTE:,.0f} MB resident: "
                        f"{f['seconds_to_result']:.2f} s"]
            if f["case"] == "memory":
                lines += [
                    "", f"memory.budget of {f['budget'] / MEGABYTE:,.0f} MB, a fifth of the state: "
                        f"peak {f['peak'] / MEGABYTE:,.0f} MB, {f['peak_over_budget']:.2f} of it, "
                        f"{f['slower']:.2f} times the wall time, "
                        f"{'the same' if f['same'] else 'ANOTHER'} answer"]
        return "\n".join(lines)


def resident(pid):
    """Bytes of memory of a process."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments, bench_of):
    """`bench_of` makes the bench of the queries for a number of events, its binary built."""
    parser = parser_of("snapshots", __doc__, CASES)
    parser.add_argument("--workers", type=int, default=2)
    options = parsed_of(parser, arguments, CASES)
    if options.events < 1 or options.repeat < 1 or options.workers < 1:
        parser.error("--events, --repeat and --workers are at least 1")
    bench = bench_of(options.events, options.binary)
    measured = Snapshots(options, bench.floodmark, bench)
    try:
        for case in options.cases:
            say(f"== {case}")
            getattr(measured, case)()
    finally:
        shutil.rmtree(measured.work, ignore_errors=True)
    print(measured.table())
    if options.out:
        text = json.dumps({"events": options.events, "figures": measured.found}, indent=1)
        pathlib.Path(options.out).write_text(text + "\n")
