"""One report of one or several models: collected once as values, rendered in several forms."""
