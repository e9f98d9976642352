//! `process_*` metrics under the names every Prometheus client library uses.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(crate) struct ResourceUsage;

impl Collector for ResourceUsage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // Not Linux, or /proc hidden: no sample is right, a zero would be a lie.
        let Ok(stat) = procfs::process::Process::myself().and_then(|process| process.stat()) else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, reason = "sizes and ticks stay far below 2^53")]
        let (ticks, resident_bytes) = ((stat.utime + stat.stime) as f64, (stat.rss * procfs::page_size()) as f64);
        #[expect(clippy::cast_precision_loss, reason = "100 or 1000")]
        let seconds = ticks / procfs::ticks_per_second() as f64;
        let cpu = ConstCounter::new(seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system CPU time spent",
            None,
            cpu.metric_type(),
        )?)?;
        let memory = ConstGauge::new(resident_bytes);
        memory.encode(encoder.encode_descriptor(
            "process_resident_memory_bytes",
            "Resident memory size",
            None,
            memory.metric_type(),
        )?)
    }
}
