"""Students: ordinary spaCy pipelines, taught by pseudo labels."""
