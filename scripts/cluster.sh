#!/usr/bin/env bash
# A cluster on this machine: several processes of one binary, each with its supervisor.
#
#   scripts/cluster.sh up --processes 3 --workers 2
#   scripts/cluster.sh --help
set -euo pipefail

usage() {
  cat << 'TEXT'
A cluster on this machine.

usage: scripts/cluster.sh COMMAND [OPTIONS]

  up [--processes N] [--workers N] [--base-port P] [--set KEY=VALUE ..] [--job FILE ..]
                        starts what is not running, and waits until all processes are up
  status                processes: who is up, since when, restarts and their reasons
  logs [I] [-f]         the last lines of the logs, of process I or of all; -f goes on
  kill I [--supervisor] SIGKILL to the engine of process I; its supervisor starts it again
                        (--supervisor: to both, so that nothing does)
  stop I                SIGSTOP to the engine of process I: it hangs
  cont I                SIGCONT to the engine of process I
  scale [--processes N] [--workers N]
                        stops at a snapshot, goes on with other numbers, says how long that took
  down                  stops everything; what is stored stays, and 'up' goes on from it
  soak [OPTIONS]        a fault a minute for hours, with checks: see scripts/soak --help

Every command takes --data-dir DIR (data/cluster if not given), where everything is: the stores and
the logs of the processes, the hostfile, the secret.

Process I listens to its peers at port P+I and for HTTP at port P+50+I of 127.0.0.1; P is 7700 if
not given. Relative paths of jobs are relative to where 'up' was called. Without a binary one is
built; FLOODMARK names another one.

examples:
  scripts/cluster.sh up --processes 3 --workers 2 --job dataflows/live_bids.sql
  scripts/cluster.sh status
  scripts/cluster.sh kill 1 && scripts/cluster.sh status
  scripts/cluster.sh logs 0 -f
  scripts/cluster.sh scale --processes 4
  scripts/cluster.sh down
TEXT
}

say() { printf '== %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf 'hint: %s\n' "$2" >&2; fi
  exit 1
}

root="$(cd "$(dirname "$0")/.." && pwd)"
# Seconds that processes get to come up, and to stop.
up_seconds_max=60
stop_seconds_max=60
processes_max=50

# -- what is known of the cluster ------------------------------------------------------------------

# Of the command line: empty means not given.
data_dir="" processes="" workers="" base_port="" process="" follow="" with_supervisor=""
jobs=() sets=()

is_number() { [[ "$1" =~ ^[0-9]{1,9}$ ]]; }

# number OPTION VALUE LEAST MOST
number() {
  if ! is_number "$2" || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
    fail "$1 takes a number from $3 to $4, not '$2'"
  fi
}

read_arguments() {
  local command=$1 option
  shift
  while [ $# -gt 0 ]; do
    option=$1
    shift
    case "$option" in
      --data-dir | --processes | --workers | --base-port | --job | --set)
        [ $# -gt 0 ] || fail "$option takes a value" "scripts/cluster.sh --help"
        ;;
    esac
    case "$command:$option" in
      *:--help | *:-h) usage; exit 0 ;;
      *:--data-dir) data_dir=$1; shift ;;
      up:--processes | scale:--processes) processes=$1; shift ;;
      up:--workers | scale:--workers) workers=$1; shift ;;
      up:--base-port) base_port=$1; shift ;;
      up:--job) jobs+=("$1"); shift ;;
      up:--set) sets+=("$1"); shift ;;
      logs:-f) follow=yes ;;
      kill:--supervisor) with_supervisor=yes ;;
      logs:[0-9]* | kill:[0-9]* | stop:[0-9]* | cont:[0-9]*)
        [ -z "$process" ] || fail "one process at a time, not $process and $option"
        process=$option
        ;;
      *) fail "'$command' does not take '$option'" "scripts/cluster.sh --help" ;;
    esac
  done
  if [ -n "$processes" ]; then number --processes "$processes" 1 "$processes_max"; fi
  if [ -n "$workers" ]; then number --workers "$workers" 1 1024; fi
  if [ -n "$base_port" ]; then number --base-port "$base_port" 1024 65400; fi
  data_dir=${data_dir:-data/cluster}
}

# What the cluster was last started with. Each setting is a file of its own.
recall() { if [ -f "$data_dir/settings/$1" ]; then cat "$data_dir/settings/$1"; else printf '%s' "${2:-}"; fi; }
remember() { printf '%s\n' "$2" > "$data_dir/settings/$1"; }

known() {
  [ -d "$data_dir/settings" ] ||
    fail "there is no cluster in $data_dir" "scripts/cluster.sh up, or name its --data-dir"
  data_dir=$(cd "$data_dir" && pwd)
  processes_now=$(recall processes)
  workers_now=$(recall workers)
  port=$(recall base-port)
}

http_of() { printf '127.0.0.1:%s' "$((port + 50 + $1))"; }

# supervisor_of I: its number if it runs. A number that the system has given to another is not it.
supervisor_of() {
  local pid file="$data_dir/run/process-$1.pid"
  [ -f "$file" ] || return 1
  pid=$(cat "$file")
  is_number "$pid" && kill -0 "$pid" 2> /dev/null || return 1
  tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -qF -- "--hostfile $data_dir/hostfile" || return 1
  printf '%s' "$pid"
}

# engine_of I: the child of its supervisor.
engine_of() {
  local pid children
  pid=$(supervisor_of "$1") || return 1
  children=$(cat "/proc/$pid/task/"*"/children" 2> /dev/null) || true
  children=${children%% *}
  [ -n "$children" ] || return 1
  printf '%s' "$children"
}

running() {
  local i
  for ((i = 0; i < processes_max; i++)); do
    if supervisor_of "$i" > /dev/null; then printf '%s ' "$i"; fi
  done
}

is_process() {
  [ -n "$process" ] || fail "which process?" "scripts/cluster.sh $1 I, with I from 0 to $((processes_now - 1))"
  if ! is_number "$process" || [ "$process" -ge "$processes_now" ]; then
    fail "there is no process '$process'" "they are 0 to $((processes_now - 1))"
  fi
}

# -- the service -----------------------------------------------------------------------------------

# ask TASK ARGUMENTS ..: what is asked of the cluster over HTTP, through the first process that
# answers.
ask() {
  local i addresses=()
  for ((i = 0; i < processes_now; i++)); do addresses+=("$(http_of "$i")"); done
  ADDRESSES="${addresses[*]}" python3 - "$@" << 'PYTHON'
import json, os, pathlib, sys, time, urllib.error, urllib.request

addresses = os.environ["ADDRESSES"].split()


def request(path, body=None, timeout=10):
    """The status and the body of an answer; (0, reason) if no process gives one."""
    reason = "no process answers"
    for address in addresses:
        data = None if body is None else json.dumps(body).encode()
        question = urllib.request.Request(f"http://{address}{path}", data)
        question.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(question, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code not in (502, 503, 504):
                return error.code, text
            reason = f"{address}: {error.code} {text.strip()}"
        except (OSError, ValueError) as error:
            reason = f"{address}: {error}"
    return 0, reason


def missing():
    """Who is not up; None where that is not known."""
    status, cluster = request("/v1/cluster", timeout=2)
    if status != 200:
        return None
    up = {p["process"] for p in cluster["processes"] if p["state"] == "up"}
    return [str(i) for i in range(len(addresses)) if i not in up]


def wait_up(seconds):
    deadline = time.monotonic() + float(seconds)
    absent = None
    while time.monotonic() < deadline:
        absent = missing()
        if absent == [] and request("/v1/jobs", timeout=2)[0] == 200:
            return
        time.sleep(0.05)
    who = "no process answers" if absent is None else f"not up: process {', '.join(absent)}"
    sys.exit(f"error: {who}, after {seconds} s\nhint: scripts/cluster.sh logs")


def jobs():
    status, found = request("/v1/jobs")
    if status != 200:
        sys.exit(f"error: the jobs cannot be listed: {found}")
    return found["jobs"] if isinstance(found, dict) else found


def running():
    for job in jobs():
        if job["state"] in ("running", "starting", "restarting"):
            print(job["name"])


def wait_jobs(seconds, *names):
    """Waits until the jobs are there and none of them is starting."""
    deadline = time.monotonic() + float(seconds)
    states = {}
    while time.monotonic() < deadline:
        status, found = request("/v1/jobs", timeout=2)
        if status == 200:
            found = found["jobs"] if isinstance(found, dict) else found
            states = {job["name"]: job["state"] for job in found}
            waits = ("starting", "restarting")
            if all(states.get(name, "starting") not in waits for name in names):
                break
        time.sleep(0.02)
    for name in names:
        if states.get(name) not in ("running", "finished"):
            print(f"job {name}: {states.get(name, 'not there')}", file=sys.stderr)


def submit(path):
    name = pathlib.Path(path).stem
    body = {"name": name, "sql": pathlib.Path(path).read_text()}
    status, found = request("/v1/jobs", body, timeout=60)
    if status == 409:
        print(f"== job {name} is there already", file=sys.stderr)
    elif not 200 <= status < 300:
        sys.exit(f"error: job {name} is not taken: {found}")
    else:
        print(f"== job {name} is started", file=sys.stderr)


def status(local):
    """A table of what the cluster says, and of what this machine sees: `process:supervisor:engine:state`."""
    seen = {}
    for line in local.split():
        process, supervisor, engine, state = line.split(":")
        seen[int(process)] = (supervisor, engine, state)
    status, cluster = request("/v1/cluster")
    told = {p["process"]: p for p in cluster["processes"]} if status == 200 else {}
    if status == 200:
        print(f"cluster {cluster['cluster']}, epoch {cluster['epoch']}, {cluster['state']}")
    else:
        print(f"nobody tells of the cluster: {cluster}", file=sys.stderr)
    rows = [("process", "state", "since", "workers", "supervisor", "engine", "restarts",
             "address", "http", "last restart")]
    for process in sorted(set(seen) | set(told)):
        supervisor, engine, state = seen.get(process, ("-", "-", "-"))
        p = told.get(process, {})
        reasons = p.get("restart_reasons") or []
        last = f"{reasons[-1]['at']} {reasons[-1]['reason']}" if reasons else "-"
        rows.append(tuple(str(v) for v in (
            process, p.get("state", "unknown") if state in ("-", "runs") else state,
            p.get("since") or "-", p.get("workers", "-"), supervisor, engine,
            p.get("restarts", "-"), p.get("address", "-"), p.get("http", "-"), last)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(v.ljust(w) for v, w in zip(row, widths)).rstrip())


task, arguments = sys.argv[1], sys.argv[2:]
{"wait-up": wait_up, "running": running, "wait-jobs": wait_jobs, "submit": submit,
 "status": status}[task](*arguments)
PYTHON
}

# -- processes -------------------------------------------------------------------------------------

find_binary() {
  floodmark=${FLOODMARK:-}
  if [ -z "$floodmark" ]; then
    floodmark="${CARGO_TARGET_DIR:-$root/target}/debug/floodmark"
    local release="${CARGO_TARGET_DIR:-$root/target}/release/floodmark"
    if [ -x "$release" ] && [ "$release" -nt "$floodmark" ]; then floodmark=$release; fi
    if [ ! -x "$floodmark" ]; then
      say "building"
      (cd "$root" && cargo build --locked)
    fi
  fi
  [ -x "$floodmark" ] || fail "$floodmark is no program"
  floodmark=$(cd "$(dirname "$floodmark")" && pwd)/$(basename "$floodmark")
}

write_hostfile() {
  local i
  {
    printf '# A line a process: where its peers reach it, and where it answers HTTP.\n'
    for ((i = 0; i < processes_now; i++)); do
      printf '127.0.0.1:%s http=%s\n' "$((port + i))" "$(http_of "$i")"
    done
  } > "$data_dir/hostfile.new"
  mv "$data_dir/hostfile.new" "$data_dir/hostfile"
}

write_secret() {
  [ -s "$data_dir/secret" ] && return
  (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$data_dir/secret.new")
  mv "$data_dir/secret.new" "$data_dir/secret"
}

# start I: unless it runs.
start() {
  local i=$1 arguments pid detach=()
  if supervisor_of "$i" > /dev/null; then return; fi
  mkdir -p "$data_dir/process-$i"
  arguments=(worker --hostfile "$data_dir/hostfile" --process "$i" --workers "$workers_now"
    --data-dir "$data_dir/process-$i" --listen "$(http_of "$i")"
    --cluster-secret-file "$data_dir/secret")
  local setting
  while IFS= read -r setting; do
    if [ -n "$setting" ]; then arguments+=(--set "$setting"); fi
  done <<< "$(recall set)"
  # A Ctrl-C that is meant for this script must not reach it.
  if command -v setsid > /dev/null; then detach=(setsid); fi
  (
    cd "$(recall folder)"
    export NO_COLOR=1
    exec ${detach[@]+"${detach[@]}"} "$floodmark" "${arguments[@]}" \
      < /dev/null >> "$data_dir/logs/process-$i.log" 2>&1
  ) &
  pid=$!
  printf '%s\n' "$pid" > "$data_dir/run/process-$i.pid"
  # Until it is what its command line says, nobody finds it.
  local waited
  for ((waited = 0; waited < 100; waited++)); do
    if supervisor_of "$i" > /dev/null; then return; fi
    sleep 0.02
  done
  tail -n 5 "$data_dir/logs/process-$i.log" >&2
  fail "process $i does not start" "see $data_dir/logs/process-$i.log"
}

start_all() {
  local i
  for ((i = 0; i < processes_now; i++)); do start "$i"; done
}

# gone I SECONDS: waits until its supervisor has ended.
gone() {
  local waited
  for ((waited = 0; waited < $2 * 50; waited++)); do
    if ! supervisor_of "$1" > /dev/null; then return 0; fi
    sleep 0.02
  done
  return 1
}

# stop_all: the leader first, whose end takes the last snapshots; then the others.
stop_all() {
  local i pid engine
  for i in $(running); do
    # What hangs cannot be told to end.
    if engine=$(engine_of "$i"); then kill -CONT "$engine" 2> /dev/null || true; fi
  done
  if pid=$(supervisor_of 0); then
    kill -TERM "$pid" 2> /dev/null || true
    gone 0 "$stop_seconds_max" || say "process 0 does not end within $stop_seconds_max s"
  fi
  for i in $(running); do
    if pid=$(supervisor_of "$i"); then kill -TERM "$pid" 2> /dev/null || true; fi
  done
  for i in $(running); do
    if gone "$i" 10; then continue; fi
    say "process $i does not end: SIGKILL"
    engine=$(engine_of "$i") && kill -KILL "$engine" 2> /dev/null
    pid=$(supervisor_of "$i") && kill -KILL "$pid" 2> /dev/null
    gone "$i" 10 || fail "process $i cannot be ended"
  done
  rm -f "$data_dir/run/"*.pid
}

# -- commands --------------------------------------------------------------------------------------

up() {
  local file is_running
  for file in ${jobs[@]+"${jobs[@]}"}; do
    [ -f "$file" ] || fail "there is no file $file"
  done
  mkdir -p "$data_dir"/{settings,run,logs}
  data_dir=$(cd "$data_dir" && pwd)
  processes_now=$(recall processes "${processes:-2}")
  workers_now=$(recall workers "${workers:-2}")
  port=$(recall base-port "${base_port:-7700}")
  is_running=$(running)
  if [ -n "$is_running" ]; then
    if [ "${processes:-$processes_now}" != "$processes_now" ] || [ "${workers:-$workers_now}" != "$workers_now" ]; then
      fail "the cluster in $data_dir runs with $processes_now processes of $workers_now workers" \
        "scripts/cluster.sh scale --processes ${processes:-$processes_now} --workers ${workers:-$workers_now}"
    fi
    [ "${base_port:-$port}" = "$port" ] ||
      fail "the cluster in $data_dir runs at port $port" "scripts/cluster.sh down, then up"
  fi
  processes_now=${processes:-$processes_now}
  workers_now=${workers:-$workers_now}
  port=${base_port:-$port}
  find_binary
  remember processes "$processes_now"
  remember workers "$workers_now"
  remember base-port "$port"
  if [ -z "$is_running" ]; then remember folder "$PWD"; fi
  if [ ${#sets[@]} -gt 0 ]; then printf '%s\n' "${sets[@]}" > "$data_dir/settings/set"; fi
  write_hostfile
  write_secret
  start_all
  ask wait-up "$up_seconds_max"
  for file in ${jobs[@]+"${jobs[@]}"}; do ask submit "$file"; done
  say "$processes_now processes of $workers_now workers are up: http://$(http_of 0)"
}

status() {
  local i pid engine state local_view=""
  known
  for ((i = 0; i < processes_now; i++)); do
    pid=$(supervisor_of "$i") || pid=-
    engine=$(engine_of "$i") || engine=-
    state=runs
    if [ "$engine" = - ]; then state=restarting; fi
    if [ "$pid" = - ]; then state=ended; fi
    if [ "$engine" != - ] && grep -q '^State:[[:space:]]*T' "/proc/$engine/status" 2> /dev/null; then
      state=stopped
    fi
    local_view+="$i:$pid:$engine:$state "
  done
  if [ -z "$(running)" ]; then
    say "the cluster in $data_dir does not run"
    exit 1
  fi
  ask status "$local_view"
}

logs() {
  local files=()
  known
  if [ -n "$process" ]; then
    is_process logs
    files=("$data_dir/logs/process-$process.log")
  else
    files=("$data_dir/logs/"process-*.log)
  fi
  [ -f "${files[0]}" ] || fail "there is no log yet" "scripts/cluster.sh up"
  if [ -n "$follow" ]; then exec tail -n 20 -F "${files[@]}"; fi
  tail -n 50 "${files[@]}"
}

# signal NAME: to the engine of the process.
signal() {
  local engine pid
  known
  is_process "$command"
  if [ -n "$with_supervisor" ]; then
    pid=$(supervisor_of "$process") || fail "process $process does not run" "scripts/cluster.sh up"
    # Its engine ends with it in any case: this is what a machine that is gone looks like.
    engine=$(engine_of "$process") || engine=""
    kill "-$1" "$pid" ${engine:+"$engine"} 2> /dev/null || true
    say "SIG$1 to process $process: supervisor $pid, engine ${engine:--}; 'up' starts it again"
    return
  fi
  engine=$(engine_of "$process") ||
    fail "process $process has no engine now" "scripts/cluster.sh status"
  kill "-$1" "$engine" || fail "engine $engine of process $process is gone" "scripts/cluster.sh status"
  say "SIG$1 to engine $engine of process $process"
}

milliseconds() { python3 -c 'import time; print(int(time.monotonic() * 1000))'; }

scale() {
  local before after running_jobs names=()
  if [ -z "$processes$workers" ]; then
    fail "scale to what?" "scripts/cluster.sh scale --processes N [--workers N]"
  fi
  known
  [ -n "$(running)" ] || fail "the cluster in $data_dir does not run" "scripts/cluster.sh up"
  find_binary
  running_jobs=$(ask running)
  while IFS= read -r name; do
    if [ -n "$name" ]; then names+=("$name"); fi
  done <<< "$running_jobs"
  before=$(milliseconds)
  stop_all
  processes_now=${processes:-$processes_now}
  workers_now=${workers:-$workers_now}
  remember processes "$processes_now"
  remember workers "$workers_now"
  write_hostfile
  start_all
  ask wait-up "$up_seconds_max"
  ask wait-jobs "$up_seconds_max" ${names[@]+"${names[@]}"}
  after=$(milliseconds)
  printf '%s processes of %s workers, %s jobs running; the pause was %s.%03d s\n' \
    "$processes_now" "$workers_now" "${#names[@]}" \
    "$(((after - before) / 1000))" "$(((after - before) % 1000))"
}

down() {
  if [ ! -d "$data_dir/settings" ]; then
    say "there is no cluster in $data_dir"
    return
  fi
  known
  if [ -z "$(running)" ]; then
    say "the cluster in $data_dir does not run"
    return
  fi
  stop_all
  say "all processes have ended; 'up' goes on from what is stored in $data_dir"
}

command=${1:-}
if [ $# -gt 0 ]; then shift; fi
case "$command" in
  "" | help | --help | -h) usage ;;
  soak) exec "$root/scripts/soak" "$@" ;;
  up | status | logs | scale | down)
    read_arguments "$command" "$@"
    "$command"
    ;;
  kill) read_arguments kill "$@"; signal KILL ;;
  stop) read_arguments stop "$@"; signal STOP ;;
  cont) read_arguments cont "$@"; signal CONT ;;
  *) fail "there is no command '$command'" "scripts/cluster.sh --help" ;;
esac
