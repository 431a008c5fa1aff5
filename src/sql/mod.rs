//! From text to bound, optimised logical plans. No I/O, no clock, no threads.
//!
//! * [`script`]: statements of a script, with their places in the text
//! * [`catalog`]: tables and views that a script declares
//! * [`settings`]: `SET 'key' = 'value'`
//! * [`functions`]: Flink's names beside DataFusion's library
//! * [`window`]: TUMBLE, HOP, CUMULATE and SESSION as logical nodes
//! * [`bind`]: a script to a [`bind::BoundJob`]

pub mod bind;
pub mod catalog;
pub mod functions;
pub mod script;
pub mod settings;
pub mod window;
