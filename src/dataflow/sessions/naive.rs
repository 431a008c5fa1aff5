//! Sessions by their definition, one row at a time.

use std::collections::BTreeMap;

use crate::dataflow::oracle::*;
use crate::state::keyed::row_text;

/// A session of the definition.
pub struct Session {
    pub start: i64,
    pub end: i64,
    pub rows: Vec<Row>,
    out: Option<Vec<String>>,
    changed: bool,
}

/// What must be seen of `rows`, of all keys, when `texts` are a session's output rows.
pub fn expected(
    rows: &[Row],
    gap: i64,
    keys: &[usize],
    delay: i64,
    lateness: i64,
    texts: impl Fn(&str, &Session) -> Vec<String>,
) -> Seen {
    let mut seen = Seen::default();
    let add = |seen: &mut Seen, time: i64, rows: &[String], diff: i64| {
        rows.iter().for_each(|row| seen.add(time, row.clone(), diff));
    };
    let mut of_key: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        of_key.entry(key_text(row, keys)).or_default().push(row.clone());
    }
    for (key, mut rows) in of_key {
        rows.sort_by_key(|row| (row.time, row.ts));
        let mut sessions: Vec<Session> = Vec::new();
        for run in rows.chunk_by(|a, b| a.time == b.time) {
            let time = run[0].time;
            for session in &mut sessions {
                if session.out.is_none() && session.end + delay < time {
                    let out = texts(&key, session);
                    add(&mut seen, session.end + delay, &out, 1);
                    session.out = Some(out);
                }
            }
            sessions.retain(|session| time <= session.end + delay + lateness);
            for row in run {
                let (start, end) = (row.ts, row.ts + gap);
                let mut mine =
                    Session { start, end, rows: vec![row.clone()], out: None, changed: true };
                let joins = |s: &Session| row.ts <= s.end && end >= s.start;
                if time > end + delay + lateness && !sessions.iter().any(joins) {
                    let one = batch(std::slice::from_ref(row));
                    let text = row_text(one.rows().columns(), 0).unwrap();
                    *seen.late.entry((text, end)).or_default() += 1;
                    continue;
                }
                let (joined, others): (Vec<_>, Vec<_>) = sessions.into_iter().partition(joins);
                sessions = others;
                for session in joined {
                    mine.start = mine.start.min(session.start);
                    mine.end = mine.end.max(session.end);
                    mine.rows.extend(session.rows);
                    session.out.iter().for_each(|out| add(&mut seen, time, out, -1));
                }
                sessions.push(mine);
            }
            for session in sessions.iter_mut() {
                if std::mem::take(&mut session.changed) && session.end + delay < time {
                    let out = texts(&key, session);
                    add(&mut seen, time, &out, 1);
                    session.out = Some(out);
                }
            }
        }
        for session in sessions.iter().filter(|s| s.out.is_none()) {
            add(&mut seen, session.end + delay, &texts(&key, session), 1);
        }
    }
    seen
}
