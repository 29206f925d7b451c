"""Write the mean of several students that were trained from the same weights.

    python scripts/average.py training/mean training/run1/model-last training/run2/model-last ...

The first path is the pipeline to write, the others are read.
"""

import argparse
import shutil
from pathlib import Path

from wasabi import msg

from spacy_eat.training.students.averaging import average


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="folder of a pipeline")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of pipelines with a component 'tagger'")
    args = parser.parse_args()
    shutil.copytree(args.runs[0], args.output, dirs_exist_ok=True)
    average([run / "tagger" for run in args.runs], args.output / "tagger")
    msg.good(f"{args.output}: the mean of {len(args.runs)} runs")


if __name__ == "__main__":
    main()
