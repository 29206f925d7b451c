"""How good the entities are, and where they were lost."""
