"""``python -m fmcodec``."""

from fmcodec.cli import main

main(prog_name="fmcodec")
