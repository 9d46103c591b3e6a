"""`python -m xentlab` is the command `xentlab`."""

import sys

if not sys.flags.safe_path:  # a file of the directory where it is called takes no library's place: it comes last
    sys.path.append(sys.path.pop(0))

from xentlab.cli import main

sys.exit(main())
