"""Around the algorithm: running it in compiled segments, and keeping what came of it."""
