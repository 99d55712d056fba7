"""What a process says of itself: its log, its traces, the ids of requests, and what it counts of them."""
