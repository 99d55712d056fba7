"""An example of a feature, to be copied: notes that are left for the store's staff, and filed by a job.

It has settings, a route with its examples, a service of its own, a job, and a metric that counts what the job does. Of
what a feature may hand out (`tracker.features.feature`) it lacks tables, `data`, and samples read from PostgreSQL, as
it stores nothing but its jobs; and it lacks fast lanes, services for other features, samples of the serving process,
`finish`, `close`, and checks of the settings. A test (`tests/runtime/test_new_feature.py`) adds it to a copy of
Tracker, by a folder and a line, and uses it there.
"""
