"""The revisions, oldest first by number. They are history: they repeat what they need and import nothing of ours."""
