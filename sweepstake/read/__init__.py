"""Floor 5, meaning: results become rows, statistics, verdicts, figures and a page. Never trains; could be deleted without harm."""
