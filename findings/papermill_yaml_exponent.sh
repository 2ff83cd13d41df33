#!/usr/bin/env bash
# title: papermill reads 1e-4 as a number or as a text, by the option
# chapter: latent/vae, adversarial/wgan
# package: papermill==2.7.0, ipykernel==7.4.0, nbformat==5.11.1, pyyaml==6.0.3
# guess: `-p lr 1e-4`, `-y "lr: 1e-4"` and `-f` with a file that says `lr: 1e-4` give the same number.
# behaviour: `-p` gives the float 0.0001; `-y` and `-f` give the text `'1e-4'`.
#   The parameter was declared as `lr: float`, and papermill does not mind.
#   The YAML parser reads a number only if it has a dot and a signed exponent, as `1.0e-4` has.
# hurts: Whoever keeps learning rates in a YAML file: at best an error deep in the optimiser, at worst `2 * lr` is `'1e-41e-4'` and the record shows what looks right.
# safe: Write `1.0e-4` or `0.0001` in YAML, and begin a notebook with `lr = float(lr)`.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q papermill==2.7.0 ipykernel==7.4.0 nbformat==5.11.1 pyyaml==6.0.3 || exit 3
cd "$folder"
bin/python - <<'END'
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
first = new_code_cell("lr: float = 0.1", metadata={"tags": ["parameters"]})
cells = [first, new_code_cell("print(repr(lr))")]
nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), "in.ipynb")
END
shown() {
  bin/python -c 'import nbformat, sys
print(nbformat.read(sys.argv[1], 4).cells[-1].outputs[0].text.strip())' "$1"
}

echo "lr: 1e-4" >p.yaml
bin/papermill in.ipynb p.ipynb -p lr 1e-4 >log.txt 2>&1
bin/papermill in.ipynb y.ipynb -y "lr: 1e-4" >log.txt 2>&1
bin/papermill in.ipynb f.ipynb -f p.yaml >log.txt 2>&1
bin/papermill in.ipynb safe.ipynb -y "lr: 1.0e-4" >log.txt 2>&1
for way in p y f safe; do echo "$way: $(shown $way.ipynb)"; done
[ "$(shown p.ipynb)" = 0.0001 ] && [ "$(shown safe.ipynb)" = 0.0001 ] &&
  [ "$(shown y.ipynb)" = "'1e-4'" ] && [ "$(shown f.ipynb)" = "'1e-4'" ]
