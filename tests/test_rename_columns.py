"""Older results files get the names of now, and no value changes."""

import subprocess
import sys

from book.run import ROOT


def test_only_the_header_changes(tmp_path):
    path = tmp_path / "toy.csv"
    path.write_text('config,n,row,note\npublished,10000,1/1,"config, n"\n')
    command = [sys.executable, ROOT / "tools" / "rename_columns.py", tmp_path]
    for _ in range(2):  # a second time changes nothing
        subprocess.run(command, check=True)
        assert path.read_text() == 'reading,n_rows,row,note\npublished,10000,1/1,"config, n"\n'
