//! The `floodmark` binary: hands its arguments to [`floodmark::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    floodmark::cli::main()
}
