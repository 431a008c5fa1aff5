#!/usr/bin/env python3
"""Regenerates the goldens of tests/sql and dataflows with DuckDB, an independent batch engine.

    scripts/goldens.py [--check] [NAME...]

Each `tests/sql/NAME.duckdb.sql` asks DuckDB for the answer that `floodmark run NAME.sql` must give;
the answer is written to `NAME.csv` in Floodmark's CSV form (header, RFC 4180, timestamps with their
milliseconds, NULL as an empty field, the empty string quoted). `NAME.changelog.duckdb.sql` does the
same for `--changelog`. Rows are sorted bytewise unless the Floodmark script orders them itself.
With --check nothing is written, and a golden that differs is an error.

Also writes the binary inputs (Parquet, gzip) of tests/sql/data from the text ones, when absent.
"""

import gzip
import os
import sys

from duck import MACROS, ROOT, enter_venv, field

SQL = ROOT / "tests/sql"


def answer(connection, query, ordered):
    """The CSV text of a query's answer."""
    relation = connection.sql(query)
    kinds = [str(kind) for kind in relation.types]
    lines = [",".join(field(v, k) for v, k in zip(row, kinds)) for row in relation.fetchall()]
    if not ordered:
        lines.sort(key=lambda line: line.encode())
    header = ",".join(field(name, "") for name in relation.columns)
    return "".join(line + "\n" for line in [header, *lines])


def binary_inputs(connection):
    """Parquet and gzip copies of the text inputs, made once: their bytes depend on the writer."""
    parquet = SQL / "data/orders.parquet"
    if not parquet.exists():
        connection.sql("FROM orders").write_parquet(str(parquet), compression="snappy")
    zstd = SQL / "data/readings.csv.zst"
    if not zstd.exists():
        connection.execute(f"""
            COPY (SELECT * REPLACE (strftime(ts, '%Y-%m-%d %H:%M:%S.%g') AS ts) FROM readings)
            TO '{zstd}' (FORMAT csv, HEADER false, COMPRESSION zstd)""")
    for name in ["orders.jsonl", "readings.csv"]:
        packed = SQL / "data" / (name + ".gz")
        if not packed.exists():
            packed.write_bytes(gzip.compress((SQL / "data" / name).read_bytes(), mtime=0))


def main():
    enter_venv()
    import duckdb

    check = "--check" in sys.argv
    names = [name for name in sys.argv[1:] if not name.startswith("--")]
    os.chdir(SQL)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(MACROS.read_text())
    connection.execute((SQL / "data/tables.duckdb.sql").read_text())
    binary_inputs(connection)
    jobs = [(path, SQL / (path.name.removesuffix(".duckdb.sql") + ".csv"), path.name.split(".")[0])
            for path in sorted(SQL.glob("*.duckdb.sql"))]
    taxi = ROOT / "tests/data/taxi"
    jobs += [(path, taxi / (path.name.removesuffix(".duckdb.sql") + ".csv"), None)
             for path in sorted(taxi.glob("*.duckdb.sql"))]
    differing = []
    for path, golden, script in jobs:
        if names and path.name.split(".")[0] not in names:
            continue
        job = (SQL / f"{script}.sql").read_text() if script else ""
        ordered = "-- ordered" in job and ".changelog." not in path.name
        try:
            found = answer(connection, path.read_text(), ordered)
        except duckdb.Error as error:
            sys.exit(f"goldens: {path.name}: {error}")
        if golden.exists() and golden.read_text() == found:
            continue
        differing.append(golden.name)
        if not check:
            golden.write_text(found)
    verb = "differ" if check else "written"
    print(f"goldens: {len(jobs)} queries, {len(differing)} {verb}", *differing, sep="\n  ")
    sys.exit(1 if check and differing else 0)


if __name__ == "__main__":
    main()
