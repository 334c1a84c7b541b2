"""The stages of an experiment in order, each resumable, and the plan of what they will do."""
