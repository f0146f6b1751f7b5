"""`python -m captioner`."""

import sys

from captioner.command_line import commands

sys.exit(commands.main())
