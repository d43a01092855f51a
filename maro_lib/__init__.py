"""MARO in notebooks: murder mysteries, played, credited, balanced, and learned from."""

__version__ = "0.1.0"
