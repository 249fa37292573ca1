# Sourced by the scripts that compare with PyPI packages: sets PEERS to a Python that has them.
# MEDDINO_PEERS names an existing one; without it a virtual environment is made in .build-peers at the root of the clone.
peers_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
peers_imports='import sys; sys.modules["torchvision"] = None
import torch, transformers.models.dinov3_vit, safetensors, numpy, scipy, SimpleITK, nibabel, monai, nnunetv2'

if [ -n "${MEDDINO_PEERS:-}" ]; then
  PEERS=$MEDDINO_PEERS
  "$PEERS" -c "$peers_imports" || { echo "MEDDINO_PEERS is $PEERS: it lacks a package of Tests/Oracle/requirements.txt" >&2; exit 1; }
else
  PEERS=$peers_root/.build-peers/bin/python
  if ! "$PEERS" -c "$peers_imports" 2>/dev/null; then
    echo "making $peers_root/.build-peers (about 2.1 GB; MEDDINO_PEERS=/path/to/python uses an existing environment)"
    python3 -m venv "$peers_root/.build-peers" || { echo "python3 with venv is needed (Debian: python3-venv)" >&2; exit 1; }
    pip_install() { "$PEERS" -m pip install -q --disable-pip-version-check "$@"; }
    torch=$(grep ^torch== "$peers_root/Tests/Oracle/requirements.txt") # the build without CUDA is not on every index
    pip_install "$torch" 2>/dev/null || pip_install --index-url https://download.pytorch.org/whl/cpu "$torch" || exit 1
    pip_install -r "$peers_root/Tests/Oracle/requirements.txt" || exit 1
  fi
fi
export PEERS
