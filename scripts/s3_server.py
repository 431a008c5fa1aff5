#!/usr/bin/env python3
"""A local server that speaks the protocol of S3, for the tests. Keeps everything in memory.

    scripts/s3_server.py             serves until its standard input ends; prints its address
    scripts/s3_server.py --install   only installs it

The server is moto, from PyPI, in a virtual environment under
${FLOODMARK_CACHE:-~/.cache/floodmark}; versions are pinned in scripts/s3_server.txt.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("FLOODMARK_CACHE", pathlib.Path.home() / ".cache/floodmark"))
VENV = CACHE / "s3-venv"
VERSIONS = HERE / "s3_server.txt"


def install():
    """Makes the environment, unless there is one with these versions."""
    wanted = hashlib.sha256(VERSIONS.read_bytes()).hexdigest()
    installed = VENV / "installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    # Several tests may begin at once.
    with open(CACHE / "s3-venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.read_text() == wanted:
            return
        shutil.rmtree(VENV, ignore_errors=True)
        print("installing the S3 server for tests", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
            pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet"]
            pip += ["--disable-pip-version-check", "--requirement", str(VERSIONS)]
            subprocess.run(pip, check=True)
        except subprocess.CalledProcessError as error:
            sys.exit(f"error: the S3 server for tests cannot be installed: {error}\n"
                     "hint: it needs python3 with venv (scripts/setup) and PyPI, once")
        installed.write_text(wanted)


def serve():
    """Serves until standard input ends, so that no server outlives its test."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if pathlib.Path(sys.prefix) != VENV:
        install()
        if "--install" in sys.argv[1:]:
            sys.exit()
        python = str(VENV / "bin/python")
        os.execv(python, [python, __file__, *sys.argv[1:]])
    serve()
