#!/usr/bin/env bash
# title: papermill runs the whole notebook when a parameter's name is misspelt
# chapter: latent/vae, adversarial/gan, diffusion/ddpm
# package: papermill==2.7.0, ipykernel==7.4.0, nbformat==5.11.1
# guess: `papermill in.ipynb out.ipynb -p epohcs 20` stops with an error, as every command line does for an option that it does not know.
# behaviour: It runs all cells with the old `epochs`, exit status 0.
#   The only sign is one line of the log, `Passed unknown parameter: epohcs`, above the progress of the run.
# hurts: Whoever varies a run from a script or a queue: hours of training with the default, filed under the new name.
# safe: Search the log for "unknown parameter", or use `python -m companion run`, which refuses such a name.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q papermill==2.7.0 ipykernel==7.4.0 nbformat==5.11.1 || exit 3
cd "$folder"
bin/python - <<'END'
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
first = new_code_cell("epochs: int = 1", metadata={"tags": ["parameters"]})
cells = [first, new_code_cell("print(repr(epochs))")]
nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), "in.ipynb")
END
shown() {
  bin/python -c 'import nbformat, sys
print(nbformat.read(sys.argv[1], 4).cells[-1].outputs[0].text.strip())' "$1"
}

status=0
bin/papermill in.ipynb out.ipynb -p epohcs 20 >log.txt 2>&1 || status=$?
printed=$(shown out.ipynb)
echo "exit status $status; the notebook used epochs = $printed"
grep "unknown parameter" log.txt
[ "$status" = 0 ] && [ "$printed" = 1 ]
