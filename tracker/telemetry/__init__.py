"""The signs that operators see of a process: its log, its traces, its requests' ids, and the counts of its answers."""
