"""Training the entity aligner: sentences whose entities have known partners, and the loop."""
