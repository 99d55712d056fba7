"""Tracker's metrics: what happens in it as numbers, for Prometheus.

The features count in plain attributes of the objects that know (`Aggregator.coalesced`), and know nothing of this
package. When somebody asks, `runtime.metric_sources` reads them, `worker_files` adds up those of all processes on the
data folder, and `exposition` writes them as Prometheus reads them. What each number means stands in `families`, and a
new feature comes in there and in `metric_sources`.
"""
