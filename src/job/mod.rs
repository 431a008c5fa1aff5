//! Job definitions and lifecycle.
//!
//! * [`definition`]: texts to a stream plan
//! * [`batch_run`]: one job in one process, to its end (`floodmark run`)
//! * [`service`], [`manager`], [`running`], [`found_views`]: jobs that come and go
//!   (`floodmark serve`)
//! * [`metrics`]: what `GET /metrics` says
//! * [`inlets`]: tables whose rows are sent to a running job
//! * [`archive`]: what is stored of a job, for those who look at it
//! * [`snapshots`]: the snapshots of a running job, and what it starts from
//! * [`replay`]: running history again, and comparing
//! * [`upgrade`]: another script for a job, with the state of the old one that it can go on with
//! * [`processes`]: jobs over several processes, one of which leads
//! * [`results`]: the final contents of bare queries

pub mod archive;
pub mod batch_run;
pub mod definition;
pub mod found_views;
#[cfg(test)]
mod frontier_tests;
pub mod inlets;
pub mod manager;
pub mod metrics;
pub mod processes;
pub mod replay;
pub mod results;
pub mod running;
pub mod snapshots;

pub mod service;
pub mod upgrade;
