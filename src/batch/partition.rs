//! Exchange: how a batch is cut into one part a worker, columns at a time.

use std::num::NonZeroUsize;

use arrow::array::UInt32Array;
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::progress::Stamp;

use super::UpdateBatch;
use super::hash::hash_columns;
use crate::error::Result;

/// On how many workers an operator works: on all, or on the first so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parallelism(Option<NonZeroUsize>);

impl Parallelism {
    /// On all workers.
    pub const ALL: Parallelism = Parallelism(None);

    /// On the first `most` workers, where that says a number.
    pub fn at_most(most: Option<usize>) -> Self {
        Parallelism(most.and_then(NonZeroUsize::new))
    }

    /// The number, if it is one.
    pub fn limit(self) -> Option<usize> {
        self.0.map(NonZeroUsize::get)
    }

    /// How many of `workers` workers that are.
    pub fn of(self, workers: usize) -> usize {
        self.limit().map_or(workers, |most| most.min(workers)).max(1)
    }
}

/// Which worker gets a row; without a route it stays where it is ([`FORWARD`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// By the stable hash of the key columns.
    Hash(Vec<usize>, Parallelism),
    /// All rows to the first worker.
    Single,
    /// All rows to every worker.
    Broadcast,
    /// Whole batches in turn.
    Rebalance,
    /// Whole batches to the worker of this one's number among the first so many, counted round.
    Fold(usize),
}

/// What the absence of an exchange is called, as an exchange.
pub const FORWARD: &str = "forward";

impl Route {
    /// What it is called in plans and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Route::Hash(..) => "hash",
            Route::Single => "single",
            Route::Broadcast => "broadcast",
            Route::Rebalance => "rebalance",
            Route::Fold(_) => "fold",
        }
    }

    /// What the exchange before an input is called, if there is one or not.
    pub fn kind_of(route: Option<&Route>) -> &'static str {
        route.map_or(FORWARD, Route::kind)
    }
}

/// Cuts `batch` into `peers` parts by the hash of the columns `keys`.
pub fn partition_by_hash(
    batch: &UpdateBatch,
    keys: &[usize],
    peers: usize,
) -> Result<Vec<Option<UpdateBatch>>> {
    let columns: Vec<_> = keys.iter().map(|&k| batch.column(k).clone()).collect();
    let hashes = hash_columns(&columns, batch.len())?;
    // The rows of all parts in one buffer, part behind part: counted first, then put in place.
    let mut ends = vec![0; peers];
    for &hash in &hashes {
        ends[worker_of(hash, peers)] += 1;
    }
    let counts = ends.clone();
    let mut start = 0;
    for end in &mut ends {
        start += std::mem::replace(end, start);
    }
    let mut order = vec![0_u32; batch.len()];
    for (row, &hash) in hashes.iter().enumerate() {
        let end = &mut ends[worker_of(hash, peers)];
        order[*end] = row as u32;
        *end += 1;
    }
    let order = UInt32Array::from(order);
    let whole = batch.len();
    counts
        .into_iter()
        .zip(ends)
        .map(|(count, end)| match count {
            0 => Ok(None),
            n if n == whole => Ok(Some(batch.clone())),
            n => batch.take(&order.slice(end - n, n)).map(Some),
        })
        .collect()
}

/// The worker of a hash: by the high bits, so that shards are ranges of the hash.
#[inline]
pub fn worker_of(hash: u64, peers: usize) -> usize {
    ((u128::from(hash) * peers as u128) >> 64) as usize
}

/// The [`Distributor`] of a [`Route`]; nothing is held back between batches.
pub struct BatchDistributor {
    route: Route,
    worker: usize,
    next: usize,
}

impl BatchDistributor {
    /// A distributor for `route` on worker `worker`.
    pub fn new(route: Route, worker: usize) -> Self {
        // Not all begin with the same one.
        BatchDistributor { route, worker, next: worker }
    }
}

impl Distributor<UpdateBatch> for BatchDistributor {
    fn partition<T: Clone, P: Push<Message<T, UpdateBatch>>>(
        &mut self,
        container: &mut UpdateBatch,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let mut batch = std::mem::take(container);
        let target = match &self.route {
            Route::Single => 0,
            Route::Rebalance => {
                self.next = (self.next + 1) % pushers.len();
                self.next
            }
            Route::Fold(workers) => self.worker % workers.clamp(&1, &pushers.len()),
            Route::Broadcast => {
                for pusher in pushers.iter_mut() {
                    Message::push_at(&mut batch.clone(), stamp.clone(), pusher);
                }
                return;
            }
            Route::Hash(keys, parallelism) => {
                match partition_by_hash(&batch, keys, parallelism.of(pushers.len())) {
                    Ok(parts) => {
                        for (part, pusher) in parts.into_iter().zip(pushers) {
                            if let Some(mut part) = part {
                                Message::push_at(&mut part, stamp.clone(), pusher);
                            }
                        }
                        return;
                    }
                    Err(error) => {
                        super::ipc::report_fault(format!("hash exchange: {error}"));
                        0
                    }
                }
            }
        };
        Message::push_at(&mut batch, stamp.clone(), &mut pushers[target]);
    }

    fn flush<T: Clone, P: Push<Message<T, UpdateBatch>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}
