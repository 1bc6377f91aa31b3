//! MPI programs on one node, killed with SIGKILL at random moments, all ranks, launchers and daemons: they end with the results
//! of an uninterrupted run.
#![forbid(unsafe_code)]

use rethaw_harness::Outcome;
use rethaw_harness::application::Application;
use rethaw_harness::interrupted::kills;
use rethaw_harness::mpi::{self, Mpi};
use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, PoisonError};

/// Ranks that wait keep their processors busy: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

macro_rules! mpi {
    ($($name:ident: $application:expr;)*) => {
        $(
            #[test]
            fn $name() -> Outcome {
                let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
                let application: Application = $application;
                // Not in the middle of MPI_Init, see docs/mpi.md.
                let sign = application.sign.unwrap_or("log");
                let application = application.sign(sign);
                application.survives(kills().div_ceil(8))
            }
        )*
    };
}

/// A program of Debian that is run by a script of tests/mpi.
fn program<W: AsRef<OsStr>>(
    name: &'static str,
    title: &'static str,
    file: &str,
    version: &[W],
) -> Application {
    let mut application = Application::script(name, title, &["sh", ""]).version(version);
    application.before = vec!["sh".into(), mpi::folder().join(file).into()];
    application
}

/// A command that prints the version of an installed package of Debian.
fn package(name: &str) -> [&str; 4] {
    ["dpkg-query", "-W", "-f=${Version}\n", name]
}

fn melt() -> Application {
    let mut application = program(
        "lammps",
        "LAMMPS with Open MPI: a liquid, 2 ranks",
        "",
        &package("lammps"),
    );
    let input = mpi::folder().join("melt.lmp");
    let mut words = ["mpirun.openmpi", "-n", "2", "lmp", "-in"]
        .map(OsString::from)
        .to_vec();
    words.push(input.into());
    words.extend(
        [
            "-log", "none", "-screen", "none", "-var", "steps", "600", "-var", "log",
        ]
        .map(OsString::from),
    );
    application.before = words;
    application
}

// Open MPI lets a rank that waits give its processor away, the others hardly: they get no more ranks than there are processors.
mpi! {
    open_mpi_4: Mpi::open_mpi_4()?.traffic("shared", 4)?;
    open_mpi_4_tcp: Mpi::open_mpi_4()?.over_tcp().traffic("tcp", 3)?;
    open_mpi_4_moved: Mpi::open_mpi_4()?.traffic("moved", 3)?.moved();
    open_mpi_4_python: Mpi::open_mpi_4()?.python(3);
    open_mpi_5: Mpi::open_mpi_5()?.traffic("shared", 4)?;
    open_mpi_5_tcp: Mpi::open_mpi_5()?.over_tcp().traffic("tcp", 3)?;
    open_mpi_5_moved: Mpi::open_mpi_5()?.traffic("moved", 2)?.moved();
    open_mpi_5_python: Mpi::open_mpi_5()?.python(3);
    mpich_4: Mpi::mpich_4()?.traffic("shared", 2)?;
    mpich_4_tcp: Mpi::mpich_4()?.over_tcp().traffic("tcp", 2)?;
    mpich_4_moved: Mpi::mpich_4()?.traffic("moved", 2)?.moved();
    mpich_4_python: Mpi::mpich_4()?.python(2);
    mpich_5: Mpi::mpich_5()?.traffic("shared", 2)?;
    mpich_5_tcp: Mpi::mpich_5()?.over_tcp().traffic("tcp", 2)?;
    mpich_5_moved: Mpi::mpich_5()?.traffic("moved", 2)?.moved();
    mpich_5_python: Mpi::mpich_5()?.python(2);
    intel: Mpi::intel()?.traffic("shared", 2)?;
    intel_tcp: Mpi::intel()?.over_tcp().traffic("tcp", 2)?;
    intel_moved: Mpi::intel()?.traffic("moved", 2)?.moved();
    intel_python: Mpi::intel()?.python(2);
    lammps: melt();
    gromacs: program("gromacs-mpi", "GROMACS with Open MPI: water, 2 ranks", "gromacs.sh", &["gmx_mpi", "--version"])
        .variable("MDRUN", "mpirun.openmpi -n 2 gmx_mpi mdrun")
        .variable("STEPS", "400")
        .prepare("prepare")
        .sign("md.log");
    gromacs_threads: program("gromacs-threads", "GROMACS with its own MPI of threads: water", "gromacs.sh", &["gmx", "--version"])
        .variable("MDRUN", "gmx mdrun -ntmpi 2 -ntomp 1")
        .variable("STEPS", "400")
        .prepare("prepare")
        .sign("md.log");
    hpcc: program("hpcc", "HPC Challenge with Open MPI, 2 ranks", "hpcc.sh", &package("hpcc"))
        .variable("HPCC", "mpirun.openmpi -n 2 hpcc")
        .variable("SIZE", "800")
        .sign("hpccoutf.txt");
}
