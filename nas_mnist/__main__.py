"""`python -m nas_mnist` is `nas-mnist`."""

import sys

from nas_mnist.cli import main

sys.exit(main())
