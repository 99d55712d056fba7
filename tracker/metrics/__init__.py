"""The metrics of all workers, added up and shown to Prometheus.

What is counted, and what it means, is declared where it is counted, in the terms of `telemetry.families`; this package
knows no feature. The runtime hands it the families, and sources of samples: `service` asks those of the process,
`database_values` those that read PostgreSQL, `worker_files` adds up the values of all processes on the data folder, and
`exposition` writes them as Prometheus reads them. Of its own it has only the metrics in `process_state`.
"""
