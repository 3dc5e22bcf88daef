#!/usr/bin/env bash
# The fast tests in fresh environments; what came out is written to docs/versions.md, a section for each.
#
#   scripts/versions.sh                     the first three, one after the other
#   scripts/versions.sh lowest              every lower bound of pyproject.toml
#   scripts/versions.sh oldest-torch        torch and torchvision at theirs, all else as pip takes it
#   scripts/versions.sh newest              what pip takes
#   scripts/versions.sh 'torch==2.14.1'     a constraint of your own
#
# PYTHON: the interpreter (default python3.11). An environment takes some 6 GB below $TMPDIR while it is tested.
# Exit code: how many environments could not be installed or had a test that failed.
set -uo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH SKETCHLAB_DATA SKETCHLAB_WEIGHTS
wrong=0
[ $# -gt 0 ] || set -- lowest oldest-torch newest

for environment in "$@"; do
    at=$(mktemp -d)
    "${PYTHON:-python3.11}" -m venv "$at/venv" || exit 1
    "$at/venv/bin/python" - "$environment" > "$at/constraints.txt" << 'END' || exit 1
import re, sys, tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
bounds = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
lowest = [re.sub(r">=([^,]+).*", r"==\1", bound) for bound in bounds if ">=" in bound]
chosen = {
    "lowest": lowest,
    "oldest-torch": [bound for bound in lowest if re.match("torch(vision)?=", bound)],
    "newest": [],
}
print(*chosen.get(sys.argv[1], [sys.argv[1]]), sep="\n")
END
    echo "$environment: installing"
    "$at/venv/bin/pip" install -q -c "$at/constraints.txt" -e ".[dev,bench]" > "$at/log" 2>&1
    installed=$?
    if [ $installed = 0 ]; then
        echo "$environment: testing"
        PATH="$at/venv/bin:$PATH" SKETCHLAB_CACHE="$at/cache" python -m pytest -n 2 -p no:cacheprovider \
            --basetemp="$at/tests" --junitxml="$at/tests.xml" > "$at/log" 2>&1
    fi
    "$at/venv/bin/python" - "$environment" "$at" << 'END' || { wrong=$((wrong + 1)); tail -n 40 "$at/log"; }
import datetime, importlib.metadata, platform, re, sys, tomllib, xml.etree.ElementTree
from pathlib import Path

environment, at = sys.argv[1], Path(sys.argv[2])
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
bounds = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
names = {re.split(r"[\[<>=]", bound)[0] for bound in bounds}
installed = {found.name.lower().replace("_", "-"): found.version for found in importlib.metadata.distributions()}
head = f"{datetime.date.today()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
if (at / "tests.xml").exists():
    suite = xml.etree.ElementTree.parse(at / "tests.xml").getroot()[0]
    n, failed, errors, skipped = (int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped"))
    bad = [case.get("classname") + "::" + case.get("name") for case in suite if case.find("failure") is not None
           or case.find("error") is not None]  # fmt: skip
    came = (f"**{n - failed - errors - skipped} passed, {failed + errors} failed**, {skipped} skipped, "
            f"{float(suite.get('time')):.0f} s")
    came += "".join(f"\n- failed: `{name}`" for name in bad)
else:
    bad, came = ["install"], "**could not be installed, or its tests not be collected**"
listed = ", ".join(f"{name} {installed[name]}" for name in sorted(names - {"sketchlab"}) if name in installed)
page = Path("docs/versions.md")
title, *sections = page.read_text().split("\n## ") if page.exists() else [""]
kept = {section.split("\n")[0]: section for section in sections}
kept[environment] = f"{environment}\n{head}: {came}\n\n{listed}\n"
title = """# Versions that are tested
Written by `scripts/versions.sh`, which says what the names mean: the fast tests, in an environment made for them.
"""
page.parent.mkdir(exist_ok=True)
page.write_text("\n## ".join([title, *(section.strip("\n") + "\n" for section in kept.values())]))
print(f"{environment}: {came}")
sys.exit(len(bad) > 0)
END
    rm -rf "$at"
done
exit $wrong
