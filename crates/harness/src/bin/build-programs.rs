//! Compiles all test programs, so that a user without compilers can run the tests.
#![forbid(unsafe_code)]

use rethaw_harness::mpi::Mpi;
use rethaw_harness::{Outcome, programs};

fn main() -> Outcome {
    let names = programs::self_checking()?;
    let total = names.len() + programs::REAL.len();
    for name in names.iter().map(String::as_str).chain(programs::REAL) {
        programs::build(name)?;
    }
    for mpi in Mpi::all()? {
        match mpi.installed() {
            true => drop(programs::build(&mpi.program())?),
            false => println!("{} is not installed: its program is not compiled", mpi.title),
        }
    }
    println!("{total} test programs are compiled");
    Ok(())
}
