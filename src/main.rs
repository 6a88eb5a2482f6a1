//! The program: all of it is in the library.

use std::process::ExitCode;

/// A plan is many small values, made on all cores: with the system's own allocator, one over 100,000
/// files took 6 % longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    imgplan::main()
}
