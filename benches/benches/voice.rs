//! What listening costs: one 32 ms chunk of Silero, alone and in a batch.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pipeline::vad::{CHUNK, Silero, Stream};

fn chunk(seed: usize) -> [i16; CHUNK] {
    std::array::from_fn(|n| (((n * 37 + seed * 101) % 401) as i16 - 200) * 40)
}

fn silero(c: &mut Criterion) {
    let network = Silero::shared();
    let mut stream = Stream::default();
    let one = chunk(0);
    let mut group = c.benchmark_group("voice");
    group.throughput(Throughput::Elements(1));
    group.bench_function("silero chunk, one call", |b| {
        b.iter(|| network.evaluate(&mut stream, black_box(&one)));
    });

    const CALLS: usize = 32;
    let mut streams = vec![Stream::default(); CALLS];
    let chunks: Vec<_> = (0..CALLS).map(chunk).collect();
    let mut out = [0.0; CALLS];
    group.throughput(Throughput::Elements(CALLS as u64));
    group.bench_function("silero chunk, 32 calls together", |b| {
        b.iter(|| {
            let mut streams: Vec<_> = streams.iter_mut().collect();
            network.evaluate_batch(&mut streams, black_box(&chunks), &mut out);
        });
    });
    group.finish();
}

criterion_group!(benches, silero);
criterion_main!(benches);
