"""Broken losses: each has one mistake that is made in practice, and names the law that is there to catch it."""

from mutants import form, meaning, numbers
from mutants.contract import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "form", "meaning", "numbers"]
