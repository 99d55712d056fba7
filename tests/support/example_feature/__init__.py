"""An example of a feature, to be copied: notes that are left for the store's staff, and filed by a job.

It has one of each thing that a feature may hand out, but for tables. A test (`tests/runtime/test_new_feature.py`) adds
it to a copy of Tracker, by a folder and a line, and uses it there.
"""
