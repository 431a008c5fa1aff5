//! Processes and workers: the only owner of timely workers and their threads.
