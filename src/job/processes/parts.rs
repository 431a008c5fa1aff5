//! What operators hand to a snapshot, as bytes for the process that writes it.

use serde::{Deserialize, Serialize};

use super::messages::{split_tail, with_tail};
use crate::connectors::PartitionPosition;
use crate::dataflow::digest::Digests;
use crate::dataflow::snapshots::Handed;
use crate::error::{Error, ErrorKind, Result};
use crate::job::snapshots::{place_number, place_of};
use crate::snapshot::{decode_rows, encode_rows};
use crate::state::saved::{Part, Recovery, SavedTable};
use crate::time::EventTime;

/// A [`Handed`] without its rows, which are behind it, table by table.
#[derive(Serialize, Deserialize)]
enum Head {
    State {
        place: u64,
        worker: usize,
        frontier: Option<EventTime>,
        recovery: Recovery,
        whole: bool,
        changed: Option<usize>,
        tables: Vec<Table>,
    },
    Source {
        index: usize,
        process: usize,
        frontier: EventTime,
        positions: Vec<PartitionPosition>,
    },
    Digests {
        output: usize,
        worker: usize,
        since: EventTime,
        to: EventTime,
        digests: Digests,
    },
    Sink {
        output: usize,
        frontier: EventTime,
    },
}

#[derive(Serialize, Deserialize)]
struct Table {
    name: String,
    shard: Option<Vec<usize>>,
    bytes: usize,
}

/// `handed` as bytes.
pub fn encode(handed: Handed) -> Result<Vec<u8>> {
    let mut tail = Vec::new();
    let head = match handed {
        Handed::State { place, worker, frontier, part } => {
            let Part { recovery, whole, tables: parts, changed } = part;
            let mut tables = Vec::with_capacity(parts.len());
            for SavedTable { name, rows, shard } in parts {
                let rows = encode_rows(&rows)?;
                tables.push(Table { name, shard, bytes: rows.len() });
                tail.extend(rows);
            }
            let place = place_number(place);
            Head::State { place, worker, frontier, recovery, whole, changed, tables }
        }
        Handed::Source { index, process, frontier, positions } => {
            Head::Source { index, process, frontier, positions }
        }
        Handed::Digests { output, worker, since, to, digests } => {
            Head::Digests { output, worker, since, to, digests }
        }
        Handed::Sink { output, frontier } => Head::Sink { output, frontier },
    };
    Ok(with_tail(&head, &tail))
}

/// What `bytes` are of.
pub fn decode(bytes: &[u8]) -> Result<Handed> {
    let (head, tail) = split_tail(bytes)?;
    Ok(match head {
        Head::State { place, worker, frontier, recovery, whole, changed, tables } => {
            let part = Part { recovery, whole, tables: tables_of(tables, tail)?, changed };
            Handed::State { place: place_of(place), worker, frontier, part }
        }
        Head::Source { index, process, frontier, positions } => {
            Handed::Source { index, process, frontier, positions }
        }
        Head::Digests { output, worker, since, to, digests } => {
            Handed::Digests { output, worker, since, to, digests }
        }
        Head::Sink { output, frontier } => Handed::Sink { output, frontier },
    })
}

fn tables_of(tables: Vec<Table>, mut rows: &[u8]) -> Result<Vec<SavedTable>> {
    let mut found = Vec::with_capacity(tables.len());
    for Table { name, shard, bytes } in tables {
        let broken = |what: &str| {
            Error::new(ErrorKind::Io, format!("table {name} of another process: {what}"))
        };
        let (own, rest) = rows.split_at_checked(bytes).ok_or_else(|| broken("is cut short"))?;
        rows = rest;
        let own = decode_rows(own).map_err(|what| broken(&what))?;
        found.push(SavedTable { name, rows: own, shard });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::*;
    use crate::dataflow::digest::Digest;
    use crate::dataflow::snapshots::StatePlace;
    use crate::plan::node::NodeId;

    fn there_and_back(handed: Handed) -> (String, String) {
        let before = format!("{handed:?}");
        (before, format!("{:?}", decode(&encode(handed).unwrap()).unwrap()))
    }

    #[test]
    fn what_is_handed_over_arrives_as_it_was() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "", "ü"]));
        let rows = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
        let table = |name: &str, rows, shard| SavedTable { name: name.to_owned(), rows, shard };
        let tables = vec![
            table("groups", rows.clone(), Some(vec![0, 1])),
            table("rest", rows.slice(0, 0), None),
        ];
        for recovery in [Recovery::Tables, Recovery::Log, Recovery::Since(5), Recovery::History(7)]
        {
            let part = Part { recovery, whole: true, tables: tables.clone(), changed: Some(2) };
            let place = StatePlace::Edge(NodeId(3), 1);
            let handed = Handed::State { place, worker: 4, frontier: Some(99), part };
            let (before, after) = there_and_back(handed);
            assert_eq!(before, after);
        }
        let position =
            PartitionPosition { name: "f".to_owned(), offset: 7, floor: i64::MIN, ended: true };
        let positions = vec![position];
        let (before, after) =
            there_and_back(Handed::Source { index: 1, process: 2, frontier: 3, positions });
        assert_eq!(before, after);
        let digests = [(5, Digest { updates: 3, sum: u128::MAX - 7 })].into();
        let (before, after) =
            there_and_back(Handed::Digests { output: 1, worker: 2, since: 3, to: 4, digests });
        assert_eq!(before, after);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let bytes = encode(Handed::Sink { output: 1, frontier: 2 }).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
