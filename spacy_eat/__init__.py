"""Entity-Aligned Translation (EAT) for spaCy."""
