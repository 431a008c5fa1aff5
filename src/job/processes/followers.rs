//! The other processes, as the leader sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::messages::{
    Counts, KeptRun, News, Order, Prepare, Request, of_bytes, split_tail, to_bytes,
};
use super::{look_often, parts, standing};
use crate::cluster::session::Leader;
use crate::dataflow::frontier::report::FrontierReport;
use crate::dataflow::metrics::lock;
use crate::dataflow::runtime::JobRuntime;
use crate::dataflow::snapshots::{Others, Snapshots, Wanted};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{JobDefinition, Store};
use crate::time::EventTime;

/// How long the others may take to prepare a job: they read their part of its state.
const ANSWER: Duration = Duration::from_secs(900);
/// The same where it can be asked again later.
const ANSWER_SOON: Duration = Duration::from_secs(10);

/// The processes that follow this one.
pub struct Followers {
    leader: Arc<Leader>,
    store: Arc<Store>,
    count: usize,
    next_ticket: AtomicU64,
    /// Answers by ticket, as they come.
    answers: Mutex<BTreeMap<u64, Vec<(usize, News)>>>,
    answered: Condvar,
    jobs: Mutex<BTreeMap<u64, Led>>,
}

/// A job that the others run too.
pub struct Led {
    /// What runs here.
    runtime: Weak<JobRuntime>,
    /// Its snapshots.
    snapshots: Option<Arc<Snapshots>>,
    reports: BTreeMap<usize, Counts>,
    told: Vec<EventTime>,
    /// Whether the others have been told to build it.
    is_installed: bool,
}

/// A job that is to be run by all.
pub struct Prepared<'a> {
    /// What it is.
    pub definition: &'a JobDefinition,
    /// What it is planned as.
    pub plan: String,
    /// Its run, if it takes snapshots.
    pub kept: Option<KeptRun>,
}

impl fmt::Debug for Followers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followers").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Led {
    /// One that runs as `runtime` here.
    pub fn new(runtime: &Arc<JobRuntime>, snapshots: Option<Arc<Snapshots>>) -> Self {
        let runtime = Arc::downgrade(runtime);
        Led { runtime, snapshots, reports: BTreeMap::new(), told: Vec::new(), is_installed: false }
    }

    /// Where its sources may go on to, if that is news.
    fn elsewhere(&mut self, followers: usize) -> Option<Vec<EventTime>> {
        let runtime = self.runtime.upgrade()?;
        if self.reports.len() < followers {
            return None;
        }
        let own: Vec<_> = runtime.sources().map(|source| source.standing()).collect();
        if own.iter().all(|source| !source.may_grow) {
            return None;
        }
        let mut all = vec![own];
        let of = |counts: &Counts| counts.sources.iter().map(|source| source.standing).collect();
        all.extend(self.reports.values().map(of));
        let frontiers = standing::frontiers(&all);
        for (source, frontier) in runtime.sources().zip(&frontiers) {
            source.reach(*frontier);
        }
        let is_news = frontiers != self.told;
        is_news.then(|| {
            self.told.clone_from(&frontiers);
            frontiers
        })
    }
}

impl Followers {
    /// Those of `leader`, whose session begins; `store` has what they ask for.
    pub fn start(
        leader: Arc<Leader>,
        store: Arc<Store>,
        on_http: crate::cluster::session::OnHttp,
    ) -> Result<Arc<Self>> {
        let followers = Arc::new(Followers {
            count: leader.others().len(),
            leader: Arc::clone(&leader),
            store,
            next_ticket: AtomicU64::new(0),
            answers: Mutex::default(),
            answered: Condvar::new(),
            jobs: Mutex::default(),
        });
        let (told, asked) = (Arc::clone(&followers), Arc::clone(&followers));
        leader.start(
            Box::new(move |process, news| told.hear(process, news)),
            Box::new(move |process, request| asked.reply(process, request)),
            on_http,
        )?;
        look_often("sources", Arc::downgrade(&followers), Followers::look)?;
        Ok(followers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Has all others plan job `id` and open what it reads.
    pub fn prepare(&self, id: u64, led: Led, job: Prepared<'_>) -> Result<()> {
        lock(&self.jobs).insert(id, led);
        let JobDefinition { name, sql, settings, .. } = job.definition.clone();
        let Prepared { plan, kept, .. } = job;
        let order = |ticket| {
            let prepare = Prepare { id, ticket, job: name, sql, settings, plan, kept };
            Order::Prepare(Box::new(prepare))
        };
        let prepared = |news| match news {
            News::Prepared { error, .. } => Some(error),
            _ => None,
        };
        let failed = self.ask(order, ANSWER, prepared).map(|answers| {
            let failed =
                |(process, error): (usize, Option<Error>)| Some(in_process(process, error?));
            answers.into_iter().find_map(failed)
        });
        match failed {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => {
                self.remove(id)?;
                Err(error)
            }
        }
    }

    /// Has all others build the dataflow of job `id`. To be called in the same order as jobs are
    /// installed here.
    pub fn install(&self, id: u64) -> Result<()> {
        self.tell(&Order::Install { id })?;
        if let Some(led) = lock(&self.jobs).get_mut(&id) {
            led.is_installed = true;
        }
        Ok(())
    }

    /// Has all others drop job `id`.
    pub fn remove(&self, id: u64) -> Result<()> {
        lock(&self.jobs).remove(&id);
        self.tell(&Order::Remove { id })
    }

    /// How job `id` goes in the others.
    pub fn counts(&self, id: u64) -> Vec<Counts> {
        let jobs = lock(&self.jobs);
        jobs.get(&id).map(|led| led.reports.values().cloned().collect()).unwrap_or_default()
    }

    /// How far the outputs of job `id` are, as the others see it.
    pub fn frontiers(&self, id: u64) -> Result<Vec<FrontierReport>> {
        let report = |news| match news {
            News::Frontier { report, .. } => Some(report),
            _ => None,
        };
        self.ask_all(|ticket| Order::Frontier { id, ticket }, report)
    }

    fn tell(&self, order: &Order) -> Result<()> {
        self.leader.send_all(&to_bytes(order))
    }

    /// What all answer to an order that can be given again later, in the order of the processes.
    fn ask_all<T>(
        &self,
        order: impl FnOnce(u64) -> Order,
        pick: impl Fn(News) -> Option<T>,
    ) -> Result<Vec<T>> {
        let answers = self.ask(order, ANSWER_SOON, pick)?;
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Gives an order that is answered, and waits for all answers: what `pick` finds in them, by
    /// process.
    fn ask<T>(
        &self,
        order: impl FnOnce(u64) -> Order,
        patience: Duration,
        pick: impl Fn(News) -> Option<T>,
    ) -> Result<Vec<(usize, T)>> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        lock(&self.answers).insert(ticket, Vec::new());
        let waited = self.tell(&order(ticket)).map(|()| {
            let is_missing = |answers: &mut BTreeMap<u64, Vec<(usize, News)>>| {
                answers.get(&ticket).is_some_and(|of| of.len() < self.count)
            };
            let guard = lock(&self.answers);
            let waited = self.answered.wait_timeout_while(guard, patience, is_missing);
            let (mut answers, _) = waited.unwrap_or_else(PoisonError::into_inner);
            answers.remove(&ticket).unwrap_or_default()
        });
        let mut answers = match waited {
            Ok(answers) => answers,
            Err(error) => {
                lock(&self.answers).remove(&ticket);
                return Err(error);
            }
        };
        if answers.len() < self.count {
            let there: Vec<_> = answers.iter().map(|(process, _)| *process).collect();
            let missing = (1..=self.count).filter(|process| !there.contains(process));
            let missing: Vec<String> = missing.map(|process| process.to_string()).collect();
            let what = format!("process {} does not answer", missing.join(", "));
            return Err(Error::new(ErrorKind::Io, what).with_hint("GET /v1/cluster says why"));
        }
        answers.sort_by_key(|(process, _)| *process);
        let picked = answers.into_iter().filter_map(|(p, news)| Some((p, pick(news)?)));
        Ok(picked.collect())
    }

    /// Takes what a process tells.
    fn hear(&self, process: usize, news: &[u8]) {
        let news: News = match of_bytes(news) {
            Ok(news) => news,
            Err(error) => return tracing::error!("process {process}: {error}"),
        };
        if let Some(ticket) = news.ticket() {
            if let Some(answers) = lock(&self.answers).get_mut(&ticket) {
                answers.push((process, news));
            }
            return self.answered.notify_all();
        }
        match news {
            News::Failed { id, error } => {
                let runtime = lock(&self.jobs).get(&id).and_then(|led| led.runtime.upgrade());
                if let Some(runtime) = runtime {
                    runtime.metrics.fail(in_process(process, error));
                }
            }
            News::Report { id, counts } => {
                if let Some(led) = lock(&self.jobs).get_mut(&id) {
                    led.reports.insert(process, counts);
                }
                self.look();
            }
            News::Prepared { .. }
            | News::Held { .. }
            | News::Chosen { .. }
            | News::Counted { .. }
            | News::Settled { .. }
            | News::Frontier { .. } => {}
        }
    }

    /// Tells all how far the sources are, if that is news; whether it is.
    fn look(&self) -> bool {
        let mut is_news = false;
        let mut jobs = lock(&self.jobs);
        for (id, led) in jobs.iter_mut() {
            if let Some(frontiers) = led.elsewhere(self.count) {
                // Who is lost ends the session.
                let _ = self.tell(&Order::Elsewhere { id: *id, frontiers });
                is_news = true;
            }
        }
        is_news
    }

    /// The answer to a request: a result, and bytes behind it.
    fn reply(&self, process: usize, request: &[u8]) -> Vec<u8> {
        let answer = split_tail(request).and_then(|(request, tail)| self.serve(request, tail));
        if let Err(error) = &answer {
            tracing::error!("a request of process {process} failed: {error}");
        }
        super::messages::answer(answer)
    }

    fn serve(&self, request: Request, tail: &[u8]) -> Result<Vec<u8>> {
        match request {
            Request::Chunk(chunk) => self.store.chunk_bytes(&chunk),
            Request::Note { id, source, partition, decision } => {
                self.snapshots_of(id)?.note(source, &partition, decision)?;
                Ok(Vec::new())
            }
            Request::Hand { id } => {
                let handed = parts::decode(tail)?;
                self.snapshots_of(id)?.hand(handed);
                Ok(Vec::new())
            }
        }
    }

    fn snapshots_of(&self, id: u64) -> Result<Arc<Snapshots>> {
        let found = lock(&self.jobs).get(&id).and_then(|led| led.snapshots.clone());
        found.ok_or_else(|| Error::new(ErrorKind::Conflict, "the job takes no snapshots any more"))
    }
}

/// An error of another process.
fn in_process(process: usize, error: Error) -> Error {
    Error { message: format!("process {process}: {}", error.message), ..error }
}

/// The others of one job, for its snapshots.
struct OthersOf {
    followers: Arc<Followers>,
    id: u64,
}

impl Followers {
    /// The others of job `id`, as its snapshots see them.
    pub fn others_of(self: &Arc<Self>, id: u64) -> Arc<dyn Others> {
        Arc::new(OthersOf { followers: Arc::clone(self), id })
    }
}

impl fmt::Debug for OthersOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the others of job {}", self.id)
    }
}

impl Others for OthersOf {
    fn are_ready(&self) -> bool {
        lock(&self.followers.jobs).get(&self.id).is_some_and(|led| led.is_installed)
    }

    fn hold(&self) -> Result<Vec<Vec<EventTime>>> {
        let id = self.id;
        let released = |news| match news {
            News::Held { released, .. } => Some(released),
            _ => None,
        };
        let held = self.followers.ask_all(|ticket| Order::Hold { id, ticket }, released);
        held.inspect_err(|_| self.go_on())
    }

    fn choose(&self, wanted: &Wanted) -> Result<()> {
        let (id, frontier) = (self.id, wanted.frontier);
        let chosen = |news| matches!(news, News::Chosen { .. }).then_some(());
        let order = |ticket| Order::Choose { id, ticket, frontier };
        self.followers.ask_all(order, chosen).map(drop)
    }

    fn go_on(&self) {
        // Who is lost ends the session.
        let _ = self.followers.tell(&Order::GoOn { id: self.id });
    }

    fn done(&self) {
        // Who is lost ends the session.
        let _ = self.followers.tell(&Order::Done { id: self.id });
    }

    fn counters(&self, frontier: EventTime) -> Result<Vec<BTreeMap<String, u64>>> {
        let id = self.id;
        let counted = |news| match news {
            News::Counted { counters, .. } => Some(counters),
            _ => None,
        };
        self.followers.ask_all(|ticket| Order::Count { id, ticket, frontier }, counted)
    }

    fn settle(&self) -> Result<()> {
        let id = self.id;
        let settled = |news| matches!(news, News::Settled { .. }).then_some(());
        self.followers.ask_all(|ticket| Order::Settle { id, ticket }, settled).map(drop)
    }

    fn end(&self) {
        // Who is lost ends the session.
        let _ = self.followers.tell(&Order::End { id: self.id });
    }
}
