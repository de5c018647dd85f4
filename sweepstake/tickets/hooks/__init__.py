"""Masks held in other people's trainers: one callback for each, in a file of its own that imports its library."""
