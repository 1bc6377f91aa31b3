//! Devices that bypass the kernel: what they hold is in hardware, where nobody can look. They are refused by name, with what
//! to set so that the program does without them.

/// A device by its path, or the path of what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    /// What /proc shows begins with this.
    path: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// For interconnects that all of MPI's libraries can do without.
const OVER_TCP: &str = "let MPI use TCP between nodes: UCX_TLS=self,tcp,cma,posix,sysv, OMPI_MCA_pml=ob1 \
                        OMPI_MCA_btl=self,vader,tcp (Open MPI), FI_PROVIDER=tcp (Intel MPI, MPICH); `rethaw run` sets these \
                        when it starts mpirun, mpiexec or srun";

const GRAPHICS: &str =
    "run the program on the processor only, or take the checkpoint while it does not use the device";

const DEVICES: [Device; 15] = [
    device("/dev/infiniband/", "an InfiniBand or RoCE adapter", OVER_TCP),
    // What ibv_open_device(3) opens besides (Linux, drivers/infiniband/core/uverbs_std_types_async_fd.c).
    device(
        "anon_inode:[infinibandevent]",
        "an InfiniBand or RoCE adapter",
        OVER_TCP,
    ),
    device("/dev/hfi1", "an Omni-Path adapter", OVER_TCP),
    device("/dev/ipath", "a TrueScale InfiniBand adapter", OVER_TCP),
    device("/dev/cxi", "a Slingshot adapter", OVER_TCP),
    device("/dev/kgni", "an Aries or Gemini adapter", OVER_TCP),
    device("/dev/usnic", "a usNIC adapter", OVER_TCP),
    device(
        "/dev/xpmem",
        "memory of another process (XPMEM)",
        "let MPI use cross-memory attach instead: UCX_TLS=self,tcp,cma,posix,sysv, \
         OMPI_MCA_btl_vader_single_copy_mechanism=cma (Open MPI 4), OMPI_MCA_smsc=cma (Open MPI 5)",
    ),
    device(
        "/dev/knem",
        "memory of another process (KNEM)",
        "let MPI use cross-memory attach instead: UCX_TLS=self,tcp,cma,posix,sysv, \
         OMPI_MCA_btl_vader_single_copy_mechanism=cma (Open MPI 4)",
    ),
    device(
        "/dev/gdrdrv",
        "memory of a graphics processor (GDRCopy)",
        GRAPHICS,
    ),
    device("/dev/nvidia", "an NVIDIA graphics processor", GRAPHICS),
    device("/dev/kfd", "an AMD graphics processor", GRAPHICS),
    device("/dev/dri/", "a graphics processor", GRAPHICS),
    device("/dev/accel/", "an accelerator", GRAPHICS),
    device(
        "/dev/vfio/",
        "a device of its own (VFIO)",
        "run the program without it",
    ),
];

const fn device(path: &'static str, what: &'static str, remedy: &'static str) -> Device {
    Device { path, what, remedy }
}

/// The device that is shown under this name, if it is one of these.
pub(crate) fn known(shown: &[u8]) -> Option<Device> {
    DEVICES
        .into_iter()
        .find(|device| shown.starts_with(device.path.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_refused_by_name_with_what_to_set() {
        for (shown, what, remedy) in [
            ("/dev/infiniband/uverbs0", "InfiniBand", "UCX_TLS="),
            ("/dev/infiniband/rdma_cm", "InfiniBand", "FI_PROVIDER=tcp"),
            (
                "anon_inode:[infinibandevent]",
                "InfiniBand",
                "OMPI_MCA_btl=self,vader,tcp",
            ),
            ("/dev/hfi1_0", "Omni-Path", "OMPI_MCA_pml=ob1"),
            ("/dev/cxi0", "Slingshot", "FI_PROVIDER=tcp"),
            ("/dev/kgni0", "Aries", "UCX_TLS="),
            ("/dev/xpmem", "XPMEM", "cma"),
            ("/dev/knem", "KNEM", "cma"),
            ("/dev/kfd", "AMD", "processor only"),
            ("/dev/dri/renderD128", "graphics", "processor only"),
            ("/dev/nvidia0", "NVIDIA", "processor only"),
            ("/dev/nvidiactl", "NVIDIA", "processor only"),
            ("/dev/nvidia-uvm", "NVIDIA", "processor only"),
        ] {
            let device = known(shown.as_bytes()).unwrap();
            assert!(device.what.contains(what), "{shown}: {device:?}");
            assert!(device.remedy.contains(remedy), "{shown}: {device:?}");
        }
        for shown in [
            "/dev/null",
            "/dev/shm/xpmem",
            "anon_inode:[eventfd]",
            "/home/me/dev/hfi1",
        ] {
            assert_eq!(known(shown.as_bytes()), None);
        }
    }
}
