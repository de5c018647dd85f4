"""Floor 2, intent: what is to be run. Trains nothing, imports no torch."""
