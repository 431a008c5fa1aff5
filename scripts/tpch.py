#!/usr/bin/env python3
"""Regenerates tests/tpch/goldens.txt: DuckDB's answers to TPC-H after every tick of changes.

    scripts/tpch.py [--check]

The tables are those that the test itself writes (tests/tpch/data.rs), as changelogs; their contents
after a tick are the last change of each key. A query with LIMIT gets the whole row as its last
order, as Floodmark breaks ties. DuckDB comes as in scripts/duck.py.
"""

import os
import re
import subprocess
import sys
import tempfile

from duck import ROOT, enter_venv, field

TPCH = ROOT / "tests/tpch"
ROWS_SHOWN_MAX = 20
TYPES = {"BIGINT": "BIGINT", "INTEGER": "INTEGER", "STRING": "VARCHAR", "DATE": "DATE",
         "DECIMAL(15, 2)": "DECIMAL(15, 2)", "TIMESTAMP(3)": "TIMESTAMP_MS"}


def tables():
    """Name, columns and primary key of each table."""
    text = (TPCH / "tables.sql").read_text()
    for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\) WITH", text, re.S):
        columns = re.findall(r"^  (\w+) ([A-Z]+(?:\([^)]*\))?) NOT NULL,$", body, re.M)
        key = re.search(r"PRIMARY KEY \(([^)]*)\)", body).group(1)
        yield name, {column: TYPES[kind] for column, kind in columns}, key


def load(connection, folder):
    """Each table's changes with their place in the log; the number of ticks."""
    for name, columns, _ in tables():
        columns = {"op": "VARCHAR", **columns}
        listed = ", ".join(f"{column}: '{kind}'" for column, kind in columns.items())
        connection.execute(f"""
            CREATE TABLE {name}_log AS
            SELECT row_number() OVER () AS place, *,
                   CAST(epoch(ts) - epoch(TIMESTAMP '2024-01-01') AS BIGINT) // 10 - 1 AS tick
            FROM read_json('{folder}/{name}.jsonl', format = 'newline_delimited',
                           columns = {{{listed}}})""")
    return connection.sql("SELECT max(tick) + 1 FROM lineitem_log").fetchall()[0][0]


def as_of(connection, tick):
    """The tables hold their contents after `tick`."""
    for name, columns, key in tables():
        listed = ", ".join(column for column in columns if column != "ts")
        connection.execute(f"""
            CREATE OR REPLACE TABLE {name} AS
            SELECT {listed} FROM {name}_log WHERE tick <= {tick} AND op <> '-U'
            QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY place DESC) = 1 AND op <> '-D'
            """)


def plain(value):
    """A number without trailing zeros; other text as it is."""
    if re.fullmatch(r"-?[0-9]+\.[0-9]+", value):
        return value.rstrip("0").rstrip(".")
    return value


def ask(connection, text):
    """The rows of a query's answer, as lines."""
    text = text.replace("`", '"').strip().rstrip(";")
    limit = re.search(r"\norder by (.*)\nlimit (\d+)$", text)
    if limit:
        columns = connection.sql(f"SELECT * FROM ({text}) LIMIT 0").columns
        ties = ", ".join(f"{column} NULLS FIRST" for column in columns)
        text = f"SELECT * FROM ({text[:limit.start()]}) ORDER BY {limit[1]}, {ties} LIMIT {limit[2]}"
    relation = connection.sql(text)
    kinds = [str(kind) for kind in relation.types]
    return sorted((",".join(plain(field(v, k)) for v, k in zip(row, kinds))
                   for row in relation.fetchall()), key=str.encode)


def digest(lines):
    """FNV-1a over the lines."""
    value = 0xCBF29CE484222325
    for byte in "".join(line + "\n" for line in lines).encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{len(lines)} rows, {value:016x}"


def main():
    enter_venv()
    import duckdb

    queries = sorted(TPCH.glob("q*.sql"))
    found = ["-- Made by scripts/tpch.py: the answer to each query after each tick."]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cargo", "test", "-q", "--test", "tpch"], cwd=ROOT, check=True,
                       env={**os.environ, "TPCH_DIR": folder})
        connection = duckdb.connect()
        answers = {}
        for tick in range(load(connection, folder)):
            as_of(connection, tick)
            for path in queries:
                answers[path.stem, tick] = ask(connection, path.read_text())
    for (query, tick), lines in sorted(answers.items()):
        found.append(f"# {query} {tick}")
        found += lines if len(lines) <= ROWS_SHOWN_MAX else [digest(lines)]
    found = "".join(line + "\n" for line in found)
    golden = TPCH / "goldens.txt"
    differs = not golden.exists() or golden.read_text() != found
    if differs and "--check" not in sys.argv:
        golden.write_text(found)
    print("tpch:", len(answers), "answers,", "changed" if differs else "as they were")
    sys.exit(1 if differs and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
