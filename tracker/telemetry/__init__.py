"""The view that operators have of a process: its log, its traces, the ids of its requests, and the counts of their answers."""
