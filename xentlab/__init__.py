"""xentlab: which loss should I train with, and does it matter here?"""

__version__ = "0.1.0"
