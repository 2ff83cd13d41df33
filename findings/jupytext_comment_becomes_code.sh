#!/usr/bin/env bash
# title: jupytext turns some comments into code
# chapter: diffusion/ddpm, adversarial/gan
# package: jupytext==1.19.6
# guess: A comment of a percent-script is still a comment in the notebook.
# behaviour: A comment that begins with the name of a shell command, such as `cat`, `copy`, `echo` or `ls`, loses its `#`.
#   `# copy the weights into the average` becomes the line `copy the weights into the average`: the script runs, its notebook has a syntax error.
#   `# %pip install ...` and `# !pip install ...`, switched off by hand, are switched on.
# hurts: Authors of chapters as scripts, and readers whose notebook installs what the script did not.
# safe: Say `comment_magics: false` under `jupytext:` in the head of the script, and execute the notebook, not only the script.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q jupytext==1.19.6 || exit 3
cd "$folder"
cat >script.py <<'END'
# %%
# copy the weights into the average
# echo of the last step
# %pip install something
# Copy the weights, with a capital letter
# keep the weights
x = 1
END
bin/python script.py
printf '# ---\n# jupyter:\n#   jupytext: {comment_magics: false}\n# ---\n\n' |
  cat - script.py >safe.py
bin/jupytext --quiet --to notebook script.py
bin/jupytext --quiet --to notebook safe.py
bin/python - <<'END'
import json


def lines(path):
    return "".join(json.load(open(path))["cells"][0]["source"]).splitlines()


script = open("script.py").read().splitlines()[1:]
changed = [line for line in lines("script.ipynb") if line not in script]
print("lines that lost their #:", *changed, sep="\n  ")
print("the same with comment_magics: false:", lines("safe.ipynb") == script)
stated = ["copy the weights into the average", "echo of the last step", "%pip install something"]
raise SystemExit(not (changed == stated and lines("safe.ipynb") == script))
END
