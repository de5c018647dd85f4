"""A ticket found in anybody's module: what is asked, the copy that is pruned, the rounds, their store."""
