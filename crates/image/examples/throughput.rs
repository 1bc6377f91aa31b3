//! How fast images are written and read here, as ratios to copying memory and to the bare file:
//! `cargo run --release -p rethaw-image --example throughput [FOLDER] [MEGABYTES]`
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rethaw_image::{Compression, Identity, ImageReader, ImageWriter, MAX_RUN, RunKind};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let megabytes: u64 = arguments
        .next()
        .map_or(1024, |text| text.to_str().unwrap().parse().unwrap());
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    let noise: Vec<u8> = (0..MAX_RUN).map(|_| noise()).collect();
    let text: Vec<u8> = noise
        .iter()
        .enumerate()
        .map(|(at, n)| if at % 8 == 0 { n % 16 } else { b'a' })
        .collect();
    for round in 0..3 {
        println!("round {round}");
        // Unmeasured: a virtual machine has to get the memory of the page cache back from its host.
        bare(&folder, &noise, megabytes);
        show("copy memory", megabytes, || copy(&noise, megabytes));
        show("bare file", megabytes, || bare(&folder, &noise, megabytes));
        for (name, data) in [("noise", &noise), ("text", &text), ("zero", &vec![0; MAX_RUN])] {
            for compression in [Compression::None, Compression::Zstd] {
                image(
                    &folder,
                    &format!("{name} {compression:?}"),
                    data,
                    megabytes,
                    compression,
                );
            }
        }
    }
}

fn show(name: &str, megabytes: u64, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    println!("  {name:24} {:8.2} GiB/s", megabytes as f64 / 1024.0 / seconds);
}

fn copy(data: &[u8], megabytes: u64) {
    // Larger than any cache, as the memory of a program is.
    let mut target = vec![1; 256 * data.len()];
    for _ in 0..megabytes / 256 {
        target
            .chunks_mut(data.len())
            .for_each(|chunk| chunk.copy_from_slice(std::hint::black_box(data)));
    }
    std::hint::black_box(&mut target);
}

fn bare(folder: &Path, data: &[u8], megabytes: u64) {
    let path = folder.join("throughput.bare");
    let mut file = File::create(&path).unwrap();
    let start = Instant::now();
    (0..megabytes).for_each(|_| file.write_all(data).unwrap());
    println!("  (to page cache {:.0} ms)", start.elapsed().as_secs_f64() * 1e3);
    file.sync_all().unwrap();
    std::fs::remove_file(path).unwrap();
}

fn image(folder: &Path, name: &str, data: &[u8], megabytes: u64, compression: Compression) {
    let path = folder.join("throughput.rethaw");
    let identity = Identity {
        computation: "0123456789abcdef".into(),
        generation: 1,
        agent: 0,
        agents: 1,
    };
    show(&format!("write {name}"), megabytes, || {
        let start = Instant::now();
        let mut writer = ImageWriter::create(&path, &identity, compression).unwrap();
        for at in 0..megabytes {
            writer.pages(1, at << 20, data).unwrap();
        }
        println!("  (to page cache {:.0} ms)", start.elapsed().as_secs_f64() * 1e3);
        writer.finish().unwrap();
    });
    show(&format!("read {name}"), megabytes, || {
        let reader = ImageReader::open(&path).unwrap();
        let mut buffer = Vec::new();
        for run in reader
            .runs(1)
            .unwrap()
            .iter()
            .filter(|run| run.kind == RunKind::Data)
        {
            reader.read_run(run, &mut buffer).unwrap();
        }
    });
    std::fs::remove_file(path).unwrap();
}
