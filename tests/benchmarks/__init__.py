"""How fast Tracker answers, against the limit and against what people write instead; `python -m tests.benchmarks`."""
