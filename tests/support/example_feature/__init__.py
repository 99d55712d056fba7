"""Notes that are left for the store's staff, and filed by a job."""
