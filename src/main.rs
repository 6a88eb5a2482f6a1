//! The program: all of it is in the library.

use std::process::ExitCode;

/// A plan is many small values, made on all cores: the system's own allocator takes a tenth longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    imgplan::cli::main()
}
