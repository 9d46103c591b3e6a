"""`python -m xentlab` is the command `xentlab`."""

import sys

from xentlab.cli import main

sys.exit(main())
