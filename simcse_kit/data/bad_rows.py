"""Rows that cannot be used: the first is an error, unless the user lets some be left out."""

from __future__ import annotations

import logging

from simcse_kit.errors import InputError

_LISTED = 10  # complaints in the log; of more rows, their number

logger = logging.getLogger(__name__)


class BadRows:
    """The complaints about the rows of one source, of which so many are let pass.

    Args:
        allowed: rows that may be left out, ``skip_bad_rows``.
    """

    def __init__(self, allowed: int = 0) -> None:
        if allowed < 0:
            raise InputError(f"skip_bad_rows is {allowed}; it must be 0 or more rows")
        self.allowed = allowed
        self.complaints: list[InputError] = []

    def met(self, complaint: InputError) -> None:
        """Note a row that is left out, or raise its complaint where that is one too many."""
        if not self.allowed:
            raise InputError(
                str(complaint),
                command_line=f"{complaint.command_line} "
                "(--skip-bad-rows N leaves out up to N such rows)",
            ) from complaint
        self.complaints.append(complaint)
        if len(self.complaints) > self.allowed:
            many = f"more than {self.allowed} bad row{'s' if self.allowed > 1 else ''}"
            raise InputError(
                f"{complaint}; with this one there are {many}, which skip_bad_rows allows",
                command_line=f"{complaint.command_line}; with this one there are {many}, "
                "which --skip-bad-rows allows",
            ) from complaint

    def tell(self, source: str) -> None:
        """Log how many rows are left out, and which."""
        if not self.complaints:
            return
        logger.warning("%s: %d bad rows left out", source, len(self.complaints))
        for complaint in self.complaints[:_LISTED]:
            logger.warning("  %s", complaint)
        if len(self.complaints) > _LISTED:
            logger.warning("  and %d more", len(self.complaints) - _LISTED)
