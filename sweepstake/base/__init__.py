"""Floor 0, words: the cell and its id, the open sets, the messages of mistakes. No torch: imports in milliseconds."""
