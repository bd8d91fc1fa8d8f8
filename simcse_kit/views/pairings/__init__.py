"""Which text is a row's positive, where the data do not say: one way a file.

Hides how rows of single texts become pairs; all a batch is told is numbers of texts.
"""
