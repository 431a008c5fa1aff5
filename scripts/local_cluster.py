"""A cluster of real processes on this machine, for measurements and for the soak.

Each process is a supervisor and its engine, in one folder, as on machines that share a file system.
"""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
UP_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60


class Trouble(Exception):
    """What went wrong, with what the processes have said."""


def free_ports(count):
    """Ports that nothing listens at: the system gives them, they are let go together."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def cpu_seconds(pid):
    """User and system seconds of a process; 0 if it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def disk_bytes(folder):
    """What the files of a folder take; some may go while it is looked at."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                pass
    return total


class Cluster:
    def __init__(self, binary, folder, processes, workers, more=()):
        self.binary = str(binary)
        self.folder = pathlib.Path(folder)
        self.processes = processes
        self.workers = workers
        self.more = list(more)
        self.ports = []
        self.https = []
        self.supervisors = [None] * processes

    # -- processes --------------------------------------------------------------------------------

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * self.processes)
        self.ports, self.https = ports[:self.processes], ports[self.processes:]
        hosts = "".join(f"127.0.0.1:{own} http=127.0.0.1:{web}\n"
                        for own, web in zip(self.ports, self.https))
        (self.folder / "hostfile").write_text(hosts)
        secret = self.folder / "secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(os.urandom(32).hex())
        for process in range(self.processes):
            self.launch(process)
        self.wait_up()
        return self

    def launch(self, process):
        command = [self.binary, "worker", "--hostfile", "hostfile", "--process", str(process),
                   "--workers", str(self.workers), "--data-dir", f"process-{process}",
                   "--listen", f"127.0.0.1:{self.https[process]}",
                   "--cluster-secret-file", "secret", *self.more]
        with open(self.folder / f"process-{process}.log", "ab") as log:
            self.supervisors[process] = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=log, start_new_session=True)

    def engine(self, process):
        """The number of the engine; None if there is none now."""
        supervisor = self.supervisors[process]
        if supervisor is None:
            return None
        for path in pathlib.Path(f"/proc/{supervisor.pid}/task").glob("*/children"):
            try:
                children = path.read_text().split()
            except OSError:
                continue
            if children:
                return int(children[0])
        return None

    def pids(self):
        """All supervisors and engines."""
        found = [s.pid for s in self.supervisors if s is not None]
        return found + [e for e in map(self.engine, range(self.processes)) if e is not None]

    def signal_engine(self, process, number):
        engine = self.engine(process)
        try:
            if engine is not None:
                os.kill(engine, number)
        except ProcessLookupError:
            return None
        return engine

    def kill(self, process):
        """Supervisor and engine: the machine is gone."""
        engine = self.engine(process)
        supervisor, self.supervisors[process] = self.supervisors[process], None
        if supervisor is not None:
            supervisor.kill()
            supervisor.wait()
        try:
            if engine is not None:
                os.kill(engine, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop(self):
        """The leader first, whose end takes the last snapshots."""
        for process, supervisor in enumerate(self.supervisors):
            if supervisor is None:
                continue
            supervisor.send_signal(signal.SIGTERM)
            try:
                supervisor.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill(process)
        self.supervisors = [None] * self.processes

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in range(self.processes):
            self.kill(process)

    def logs(self):
        texts = []
        for process in range(self.processes):
            path = self.folder / f"process-{process}.log"
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            supervisor = self.supervisors[process]
            code = None if supervisor is None else supervisor.poll()
            state = "runs" if code is None and supervisor else f"has ended with {code}"
            head = f"process {process}: its supervisor {state}, engine {self.engine(process)}"
            texts.append("\n    ".join([head, *lines[-15:]]))
        return "\n".join(texts)

    # -- requests ---------------------------------------------------------------------------------

    def connection(self, process, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.https[process], timeout=timeout)

    def request(self, path, body=None, process=0, headers=None, method=None, timeout=60):
        """Status and body, JSON where it is; (0, reason) if there is no answer."""
        connection = self.connection(process, timeout)
        try:
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            method = method or ("GET" if body is None else "POST")
            connection.request(method, path, body, {"Content-Type": "application/json",
                                                    **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            try:
                return answer.status, json.loads(text)
            except ValueError:
                return answer.status, text
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def asked(self, path, body=None, process=0, seconds=UP_SECONDS_MAX, **more):
        """The body of a good answer, asked for until there is one."""
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            status, last = self.request(path, body, process, **more)
            if 200 <= status < 300:
                return last
            if status in (400, 409, 422):
                break
            time.sleep(0.02)
        raise Trouble(f"{path}: {last}\n{self.logs()}")

    def cluster(self, process=0):
        status, told = self.request("/v1/cluster", process=process, timeout=2)
        return told if status == 200 else None

    def is_up(self):
        told = self.cluster(self.processes - 1)
        return (told is not None and len(told["processes"]) == self.processes
                and told["state"] == "running")

    def wait_up(self, seconds=UP_SECONDS_MAX):
        deadline = time.monotonic() + seconds
        while not self.is_up():
            if time.monotonic() > deadline:
                raise Trouble(f"the cluster is not up after {seconds} s\n{self.logs()}")
            time.sleep(0.02)

    def submit(self, name, sql, process=0):
        return self.asked("/v1/jobs", {"name": name, "sql": sql}, process)

    # -- what it takes ----------------------------------------------------------------------------

    def cpu(self):
        return sum(map(cpu_seconds, self.pids()))

    def sent_bytes(self):
        """What the processes have sent one another so far, over connections that are open."""
        listed = subprocess.run(["ss", "-tinHO"], capture_output=True, text=True, check=True)
        total = 0
        for line in listed.stdout.splitlines():
            ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", line)}
            sent = re.search(r"\bbytes_sent:(\d+)", line)
            if sent and ports & set(self.ports):
                total += int(sent.group(1))
        return total
