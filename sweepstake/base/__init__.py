"""Floor 0, words: what a result is called and how a mistake is told. No torch: imports in milliseconds."""
