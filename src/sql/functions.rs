//! Flink's function names beside DataFusion's library.

use datafusion::execution::session_state::SessionStateBuilder;

/// Registers the functions.
pub fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
}
