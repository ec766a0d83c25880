"""The beats table through Petastorm, split by participant."""
