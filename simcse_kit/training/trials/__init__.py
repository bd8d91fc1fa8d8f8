"""Which recipe helps: each trained with several seeds from one start, judged alike, compared.

Hides how runs are queued, kept apart and taken up again; the report has a `TrialResult`.
"""
