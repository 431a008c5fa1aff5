//! Every bound of the system, by name. A queue, buffer or retry without a line here is a defect.

/// Keys of one CUBE: it groups by each of their subsets.
pub const CUBE_KEYS_MAX: usize = 8;
/// Writers of one sink, each with a thread of its own.
pub const SINK_WRITERS_MAX: usize = 64;
/// Workers that an operator, source or sink is said to work on.
pub const PARALLELISM_MAX: usize = 1 << 15;
/// Bytes of a text file that one split (one unit of decoding) holds.
pub const SPLIT_BYTES: usize = 1 << 20;
/// Chunks of text without content that one source keeps for the next.
pub const CHUNKS_FREE_MAX: usize = 16;
/// Rows of input that an operator keeps for the next snapshot before it hands them over.
pub const SNAPSHOT_LOG_ROWS_MAX: usize = 1 << 16;
/// Event time of one digest of an output, in ms.
pub const DIGEST_INTERVAL_MS: i64 = 60_000;
/// Rows of a log that are not summed up yet, however short the sum is.
pub const SNAPSHOT_SUM_ROWS_MIN: u64 = 1 << 16;
/// Rows of changed state that are saved on top of the last whole state, however small that is.
pub const SNAPSHOT_CHANGES_ROWS_MIN: usize = 1 << 16;
/// Saves of changed state on top of the last whole one, each of which a manifest names.
pub const SNAPSHOT_INCREMENTS_MAX: usize = 256;
/// Groups that an operator hands to a snapshot at a time.
pub const SNAPSHOT_PIECE_ROWS: usize = 32 << 10;
/// Messages that wait for the writer of snapshots.
pub const SNAPSHOT_MESSAGES_MAX: usize = 256;
/// Messages that wait for the writer while operators hand over no more than they must.
pub const SNAPSHOT_MESSAGES_BUSY: usize = 8;
/// How long an operator hands over pieces of its state before it goes on with its work, in us.
pub const SNAPSHOT_PIECES_US_MAX: u64 = 4_000;
/// How long an operator leaves a busy writer of snapshots alone, in us.
pub const SNAPSHOT_NAP_US: u64 = 500;
/// The same where several processes read: each split is a step of the frontier, which all tell all
/// others.
pub const SPLIT_BYTES_PROCESSES: usize = 2 << 20;
/// Bytes of the first split of a file, read to learn its earliest time.
pub const SPLIT_BYTES_FIRST: usize = 64 << 10;
/// Splits that a reader may have read ahead and no worker has taken, per source.
pub const SPLITS_READY_MAX: usize = 8;
/// Longest record (line) of a text format, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Levels of objects and arrays in a JSON value.
pub const JSON_DEPTH_MAX: usize = 128;
/// Rows of one generated or re-cut batch.
pub const BATCH_ROWS: usize = 8192;
/// Partitions of a generated table.
pub const GENERATED_PARTITIONS_MAX: u64 = 1024;
/// Bytes of one generated string.
pub const GENERATED_STRING_BYTES_MAX: usize = 64 << 10;
/// Threads that generate and encode rows for files.
pub const GENERATE_THREADS_MAX: usize = 8;
/// Encoded batches that one such thread may be ahead of the file.
pub const GENERATE_BATCHES_AHEAD_MAX: usize = 2;
/// Bytes of a record kept in a dead letter.
pub const DEAD_LETTER_RECORD_BYTES_MAX: usize = 1024;
/// Dead letters kept queryable per job; older ones give way and are still counted.
pub const DEAD_LETTERS_KEPT_MAX: usize = 100_000;
/// Rows that a source may have in flight (sent, and not yet finished by the dataflow), per worker.
pub const ROWS_IN_FLIGHT_MAX: usize = 1 << 20;
/// Bytes of an HTTP request body.
pub const HTTP_BODY_BYTES_MAX: usize = 4 << 20;
/// Seconds that an HTTP client may take to send its headers or body.
pub const HTTP_READ_SECONDS_MAX: u64 = 30;
/// Rows of an HTTP answer when the request sets no limit.
pub const HTTP_ROWS_DEFAULT: usize = 10_000;
/// Messages in a channel between a worker and an I/O thread.
pub const IO_CHANNEL_MESSAGES_MAX: usize = 16;
/// Windows that one row may belong to (size divided by slide).
pub const WINDOWS_PER_ROW_MAX: i64 = 100_000;
/// Commands that wait for a worker.
pub const CLUSTER_COMMANDS_MAX: usize = 64;
/// Bytes of the first splits of all files of a source together; many files get shorter ones.
pub const FIRST_SPLITS_BYTES_MAX: usize = 64 << 20;
/// The shortest first split of a file that [`FIRST_SPLITS_BYTES_MAX`] leads to, in bytes.
pub const FIRST_SPLIT_BYTES_MIN: usize = 4 << 10;
/// Splits of one partition that are read ahead.
pub const SPLITS_READY_PER_PARTITION_MAX: usize = 2;
/// Threads that read the files of one source.
pub const SOURCE_READERS_MAX: usize = 2;
/// Files that one source names.
pub const SOURCE_FILES_MAX: usize = 1_000_000;
/// Uncompressed text files that one source keeps open; others are opened again where they were
/// left.
pub const SOURCE_FILES_OPEN_MAX: usize = 64;
/// Files without cheap seeking (compressed, Parquet) that one source keeps open.
pub const SOURCE_STREAMS_OPEN_MAX: usize = 192;
/// Depth of a directory tree that is searched for files (less than the links a path may follow).
pub const PATH_DEPTH_MAX: usize = 32;
/// Sub-directories that a filesystem sink has a part open in.
pub const SINK_DIRECTORIES_OPEN_MAX: usize = 128;
/// Parts that a filesystem sink has closed and not yet renamed.
pub const SINK_PARTS_CLOSED_MAX: usize = 256;
/// Rows of a text part between two looks at its size.
pub const SINK_GROUP_ROWS: usize = 1024;
/// Updates that a view gathers before it merges them, while it holds fewer than that.
pub const VIEW_PENDING_ROWS_MIN: usize = 1 << 16;
/// Bytes of memory that an ad-hoc query may use beside the contents of the views that it reads.
pub const QUERY_BYTES_MAX: usize = 256 << 20;
/// Seconds that an ad-hoc query may take.
pub const QUERY_SECONDS_MAX: u64 = 60;
/// Compiled patterns (dates, regular expressions) that a thread keeps, per kind.
pub const PATTERNS_COMPILED_MAX: usize = 64;
/// Panes that a window may be put together from; beyond, rows go to each of their windows.
pub const PANES_PER_WINDOW_MAX: i64 = 64;
/// Rows below the frontier that a window operator leaves unread while no window ends.
pub const WINDOW_ROWS_UNREAD_MAX: usize = 1 << 18;
/// Results that an updating aggregate collects before it emits a batch.
pub const CHANGES_PER_BATCH_MAX: usize = 1 << 16;
/// Bytes of a text that a function may make out of a number (LPAD, REPEAT).
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Rows of an HTTP answer at most, whatever limit the request sets.
pub const HTTP_ROWS_MAX: usize = 1_000_000;
/// Bytes of an answer that the command line takes from a service.
pub const HTTP_ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Seconds that the command line waits for an answer; an export may take a while.
pub const HTTP_ANSWER_SECONDS_MAX: u64 = 600;
/// HTTP connections at a time; more wait to be accepted.
pub const HTTP_CONNECTIONS_MAX: usize = 1024;
/// HTTP requests that read or change something at a time; more wait.
pub const HTTP_CALLS_MAX: usize = 16;
/// Seconds that a request may wait for its turn.
pub const HTTP_WAIT_SECONDS_MAX: u64 = 10;
/// Seconds that open requests get to finish when the service stops.
pub const HTTP_SHUTDOWN_SECONDS_MAX: u64 = 10;
/// Jobs that take their last snapshot at a time when a service stops.
pub const JOBS_SAVED_AT_ONCE_MAX: usize = 32;
/// Jobs of one service.
pub const JOBS_MAX: usize = 1000;
/// Bytes of stack of a thread that plans SQL; only what is touched is taken.
pub const SQL_STACK_BYTES: usize = 64 << 20;
/// Seconds that a process waits for the other processes of its cluster.
pub const PEERS_WAIT_SECONDS_MAX: u64 = 60;
/// Seconds that a connection to a process may take until both sides know who the other one is.
pub const PEER_HELLO_SECONDS_MAX: u64 = 5;
/// Processes of one cluster.
pub const PROCESSES_MAX: usize = 256;
/// Bytes of the file that names them.
pub const HOSTFILE_BYTES_MAX: u64 = 256 << 10;
/// Bytes of one message between two processes of a cluster that work together.
pub const CLUSTER_FRAME_BYTES_MAX: usize = 1 << 30;
/// Connections for calls to the leader of a cluster, idle ones among them.
pub const CLUSTER_CALLS_MAX: usize = 1024;
/// Connections for calls that a process keeps open while it needs none.
pub const CLUSTER_CALLS_IDLE_MAX: usize = 16;
/// Seconds that the processes of a cluster may take to connect their workers once all are there.
pub const CLUSTER_MEETING_SECONDS_MAX: u64 = 10;
/// Bytes of one message of two processes that do not know yet who the other one is.
pub const PEER_MESSAGE_BYTES_MAX: usize = 1024;
/// Connections to a process that have not said yet who they are; beyond, the oldest is closed.
pub const PEER_HANDSHAKES_MAX: usize = 32;
/// Milliseconds before a process is tried again that was not there, at first.
pub const PEER_BACK_OFF_MS_MIN: u64 = 10;
/// Milliseconds before a process is tried again that was not there, after many times.
pub const PEER_BACK_OFF_MS_MAX: u64 = 500;
/// Milliseconds before connections are accepted again after that has failed.
pub const PEER_ACCEPT_PAUSE_MS: u64 = 100;
/// Seconds that a process may leave what it is sent unacknowledged.
pub const PEER_SILENCE_SECONDS_MAX: u64 = 30;
/// Seconds between two questions to a silent machine whether it is still there.
pub const PEER_PROBE_SECONDS: u64 = 10;
/// Such questions without an answer before the machine counts as gone.
pub const PEER_PROBES_MAX: u32 = 3;
/// Bytes that are read of a connection that was refused, so that it hears the reason.
pub const PEER_UNREAD_BYTES_MAX: usize = 64 << 10;
/// Seconds that the end of a connection waits until what was written is on its way.
pub const PEER_LINGER_SECONDS_MAX: u64 = 2;
/// Bytes of a cluster secret at least.
pub const CLUSTER_SECRET_BYTES_MIN: usize = 16;
/// Bytes of a cluster secret at most.
pub const CLUSTER_SECRET_BYTES_MAX: usize = 4096;
/// Refused connections that are told in a minute; others are counted.
pub const PEER_REFUSALS_TOLD_MAX: u32 = 60;
/// Bytes of a cluster id.
pub const CLUSTER_ID_BYTES_MAX: usize = 64;
/// Connections to the leader that a process keeps open for HTTP requests while there are none.
pub const HTTP_FORWARDED_IDLE_MAX: usize = 16;
/// Reasons for its restarts that a process remembers.
pub const RESTART_REASONS_MAX: usize = 10;
/// Variables of one MATCH_RECOGNIZE pattern.
pub const MATCH_VARIABLES_MAX: usize = 63;
/// States of the automaton of one MATCH_RECOGNIZE pattern, its repetitions written out.
pub const MATCH_STATES_MAX: usize = 10_000;
/// Rows that a match may have looked at while it is open; beyond, it is given up.
pub const MATCH_ROWS_MAX: u64 = 1 << 16;
/// Open matches of one partition that began at different rows; beyond, the oldest is given up.
pub const MATCH_OPEN_MAX: usize = 1 << 14;
/// Steps that the search for one match may take, with those it takes back; beyond, it is given up.
pub const MATCH_STEPS_MAX: u64 = 1 << 21;
/// Rows that an interval or temporal join applies in one step.
pub const JOIN_STEP_ROWS_MAX: usize = 4 * BATCH_ROWS;
/// Rows of one chunk of kept rows.
pub const POOL_CHUNK_ROWS: usize = 1 << 16;
/// Chunks of kept rows that are small, or half dead, before they are merged.
pub const POOL_CHUNKS_MERGED: usize = 16;
/// Rows of input batches that kept rows may hold alive before they are copied.
pub const POOL_ROWS_OPEN_MAX: usize = 1 << 17;
/// How often rows are merged into chunks of their own level before levels are told apart no more.
pub const POOL_LEVELS_MAX: usize = 8;
/// Entries of one block of a sorted list of rows.
pub const ORDERED_BLOCK_ROWS_MAX: usize = 512;
/// Rows that one batch of an unnest holds; what a batch of arrays holds beyond goes into more.
pub const UNNEST_ROWS_PER_BATCH_MAX: usize = 1 << 16;
/// Iterations of a recursive query, unless `recursion.limit` or its own limit says otherwise.
pub const RECURSION_ITERATIONS_MAX: u64 = 10_000;
/// How often a row may occur in a recursive query: paths without end are counted to here.
pub const RECURSION_MULTIPLICITY_MAX: i64 = 1 << 40;
/// How often the types of a recursive query's columns may widen before they must be declared.
pub const RECURSION_TYPE_ROUNDS_MAX: usize = 5;
/// Rows of one side that a join applies before it emits and lets go of what has left.
pub const JOIN_STEP_ROWS: usize = 512;
/// Rows of one stored chunk of state.
pub const SNAPSHOT_CHUNK_ROWS: usize = 32 << 10;
/// Bytes of the name of a job that has snapshots.
pub const SNAPSHOT_JOB_BYTES_MAX: usize = 255;
/// Bytes of stored values that are gathered in memory before they are written to a file.
pub const SNAPSHOT_WRITE_BYTES: usize = 16 << 20;
/// Bytes of one file of large stored values.
pub const SNAPSHOT_BLOB_BYTES: u64 = 64 << 20;
/// Threads of the store that write files and merge them.
pub const SNAPSHOT_BACKGROUND_JOBS_MAX: i32 = 2;
/// Bytes of deleted chunks after which their space is asked back.
pub const SNAPSHOT_RECLAIM_BYTES: u64 = 16 << 20;
/// Bytes of the manifest of an exported snapshot.
pub const SNAPSHOT_MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the least memory budget: below it the process itself does not fit.
pub const MEMORY_BUDGET_BYTES_MIN: u64 = 64 << 20;
/// How much of the memory budget the process may use before state is put aside, in percent.
pub const SPILL_START_PERCENT: u64 = 60;
/// State smaller than this part of the memory budget stays in memory.
pub const SPILL_SHARE_DIVISOR: u64 = 64;
/// Bytes of rows in one block of state that was put aside.
pub const SPILL_BLOCK_BYTES: usize = 32 << 10;
/// Rows of a block at least, however wide they are.
pub const SPILL_BLOCK_ROWS_MIN: usize = 16;
/// Rows of a block at most.
pub const SPILL_BLOCK_ROWS_MAX: usize = 4096;
/// Runs of a table that was put aside before the smaller half of them is merged.
pub const SPILL_RUNS_MAX: usize = 8;
/// Parts that all state is brought back in.
pub const SPILL_SWEEP_PARTS_MAX: u64 = 1024;
/// Rows of such a part at least, on average.
pub const SPILL_SWEEP_ROWS_MIN: usize = 16;
/// How much of the memory budget the process may use before small states are put aside too, in
/// percent.
pub const SPILL_HARD_PERCENT: u64 = 85;
/// The part of the rows in flight that an operator with state on disk waits for before it applies
/// them.
pub const SPILL_GATHER_DIVISOR: usize = 2;
/// Messages that wait for the writer of snapshots in a job with a memory budget.
pub const BUDGET_SNAPSHOT_MESSAGES_MAX: usize = 4;
/// Rows that an operator hands over at a time when its state is put aside.
pub const SPILL_PIECE_ROWS: usize = 2048;
/// Keys of which state is brought back at a time at least.
pub const SPILL_FETCH_KEYS_MIN: usize = 1024;
/// The part of the memory budget that a process reads back at a time.
pub const SPILL_PIECE_DIVISOR: u64 = 16;
/// The part of the memory budget that rows in flight may take.
pub const BUDGET_IN_FLIGHT_DIVISOR: u64 = 32;
/// Bytes that a row in flight is taken to have before any operator has been given one.
pub const BUDGET_ROW_BYTES_GUESS: u64 = 1024;
/// Rows in flight at least, however small the memory budget.
pub const BUDGET_ROWS_IN_FLIGHT_MIN: usize = 1024;
/// How much fewer rows may be in flight while memory is short.
pub const BUDGET_SHORT_DIVISOR: u64 = 4;
/// Rows that an operator whose state may go to disk applies at a time at least.
pub const SPILL_STEP_ROWS_MIN: usize = 16;
/// The part of what is read back at a time that the rows of one such step may take.
pub const SPILL_STEP_DIVISOR: u64 = 4;
/// Objects of a copy of a snapshot that are read or written at a time.
pub const OBJECTS_AT_ONCE_MAX: usize = 8;
/// Bytes of one part of a large object; object stores take no less than 5 MiB.
pub const OBJECT_PART_BYTES: usize = 8 << 20;
/// Parts of one object that are written at a time.
pub const OBJECT_PARTS_AT_ONCE_MAX: usize = 4;
/// How often a request to an object store is repeated that failed for the moment.
pub const OBJECT_RETRIES_MAX: usize = 6;
/// Seconds after which a request to an object store is not repeated any more.
pub const OBJECT_RETRY_SECONDS_MAX: u64 = 180;
/// Seconds that one request to an object store may take.
pub const OBJECT_REQUEST_SECONDS_MAX: u64 = 120;
/// Bytes of rows of one table that were sent over HTTP and wait for its job.
pub const HTTP_TABLE_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes of logged rows of one table that are read ahead after a restart.
pub const HTTP_TABLE_LOG_BYTES: usize = 4 << 20;
/// Keys of requests of one table that are remembered, so that a repetition is known as one.
pub const HTTP_TABLE_KEYS_MAX: usize = 10_000;
/// Bytes of the key of a request.
pub const HTTP_KEY_BYTES_MAX: usize = 255;
/// Seconds that a request with rows waits until its table takes some.
pub const HTTP_TABLE_WAIT_SECONDS_MAX: u64 = 5;
/// Seconds that a request with rows waits to learn their event times.
pub const HTTP_TIMES_SECONDS_MAX: u64 = 2;
/// Rows of a request that its answer names as wrong.
pub const HTTP_ROW_FAULTS_MAX: usize = 100;
/// Seconds that a read waits for an event time when it does not say how long.
pub const HTTP_MIN_TIME_SECONDS: u64 = 10;
/// Batches of an operator of which one is weighed, to say how many bytes it is given.
pub const METRICS_BATCHES_PER_WEIGHING: u64 = 64;
/// Seconds between two counts of the state of an operator.
pub const METRICS_STATE_SECONDS: u64 = 1;
/// Series of one page of metrics; those beyond are counted.
pub const METRICS_SERIES_MAX: usize = 200_000;
/// Seconds that a read may wait for an event time.
pub const HTTP_MIN_TIME_SECONDS_MAX: u64 = 300;
