"""Print, as constraints for pip, the oldest release of each dependency that pyproject.toml allows.

python scripts/oldest.py >oldest.txt && pip install -c oldest.txt ".[test]"
"""

import re
import tomllib
from itertools import chain
from pathlib import Path

with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
    project = tomllib.load(file)["project"]
groups = [project["dependencies"], *project["optional-dependencies"].values()]
for requirement in chain.from_iterable(groups):
    if match := re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement):
        print("{}=={}.*".format(*match.groups()))
