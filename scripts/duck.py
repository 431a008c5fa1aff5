"""What the scripts that ask DuckDB share: its virtual environment, and Floodmark's CSV form.

DuckDB comes from PyPI into a virtual environment under ${FLOODMARK_CACHE:-~/.cache/floodmark}.
"""

import datetime
import decimal
import os
import pathlib
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("FLOODMARK_CACHE", pathlib.Path.home() / ".cache/floodmark"))
VENV = CACHE / "goldens-venv"
# Window functions and the like, to be executed first.
MACROS = ROOT / "tests/sql/data/macros.duckdb.sql"


def enter_venv():
    """Runs this script again with an interpreter that has DuckDB."""
    try:
        import duckdb  # noqa: F401
        return
    except ImportError:
        pass
    python = VENV / "bin/python"
    if pathlib.Path(sys.prefix) == VENV:
        sys.exit("duckdb is not importable in its own environment")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "duckdb==2.0.0"], check=True)
    os.execv(str(python), [str(python), *sys.argv])


def short_float(value):
    """The shortest text that reads back as the same 32-bit float."""
    for digits in range(1, 10):
        found = float(f"{value:.{digits}g}")
        if struct.pack("f", found) == struct.pack("f", value):
            return repr(found)
    return repr(value)


def text(value, kind):
    """One field in Floodmark's CSV form, unquoted; None for NULL."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03}"
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return short_float(value) if kind == "FLOAT" else repr(value)
    return str(value)


def field(value, kind):
    """One field, quoted where RFC 4180 asks for it."""
    value = text(value, kind)
    if value is None:
        return ""
    if value == "" or any(c in value for c in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value
