//! Every bound of the system, by name. A queue, buffer or retry without a line here is a defect.

/// Bytes of a text file that one split (one unit of decoding) holds.
pub const SPLIT_BYTES: usize = 1 << 20;
/// Bytes of the first split of a file, read to learn its earliest time.
pub const SPLIT_BYTES_FIRST: usize = 64 << 10;
/// Splits that a reader may have read ahead and no worker has taken, per source.
pub const SPLITS_READY_MAX: usize = 8;
/// Longest record (line) of a text format, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Rows of one generated or re-cut batch.
pub const BATCH_ROWS: usize = 8192;
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
/// Compiled patterns (dates, regular expressions) that a thread keeps, per kind.
pub const PATTERNS_COMPILED_MAX: usize = 64;
/// Bytes of a text that a function may make out of a number (LPAD, REPEAT).
pub const TEXT_BYTES_MAX: usize = 16 << 20;
