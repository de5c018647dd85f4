"""A comparison, told: what each pair's cells come to, the page of all pairs, and the files beside it."""
