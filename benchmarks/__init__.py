"""Times of cyrnn and its peers on the same recurrence: `python -m benchmarks` (see README.md here)."""
