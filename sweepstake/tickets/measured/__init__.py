"""Dense beside its ticket: sizes, multiply-adds, latency."""
