"""The page: one HTML document that opens anywhere, offline, made of a study and its results."""
