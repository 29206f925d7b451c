"""Stop before anything is loaded if there is no such GPU.

python scripts/gpu.py GPU_ID
"""

import sys

from thinc.api import require_gpu
from wasabi import msg

gpu_id = int(sys.argv[1])
if gpu_id >= 0:
    try:
        require_gpu(gpu_id)
    except Exception as error:  # CuPy, CUDA and torch have no name in common for it
        remedy = "Use the CPU with --vars.gpu_id=-1, or install what a GPU needs: pip install spacy[cuda12x]"
        msg.fail(f"gpu_id is {gpu_id}, but there is no such GPU ({error})", remedy, exits=1)
