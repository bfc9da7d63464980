"""Fail unless the installed pycnn is the compiled one, with kernels for this processor.

Where a compiler knows no vector types the core is compiled without kernels, and a wheel made there
would be right, but slow and with the bits of the baseline.
"""

import sys

import pycnn

config = pycnn.config()
print(config)
sys.exit(config["backend"] != "c" or config["isa"] == "baseline")
