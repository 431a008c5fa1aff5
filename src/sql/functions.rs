//! Flink's function names beside DataFusion's library.
