"""What a run leaves on disk, and how it goes on from there.

Hides the folder's layout: checkpoints, the models that are kept, what ends, resumes or replaces
a run.
"""
