"""`python -m ffseq`."""

import sys

from ffseq.cli import main

sys.exit(main())
