"""Floor 5, meaning: results become rows, statistics, verdicts, figures and a page.

It never trains, and could be deleted without harm.
"""
