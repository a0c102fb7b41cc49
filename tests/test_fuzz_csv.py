"""Tables of text at random: each is read, in the quick way as line by line, or refused by one error."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measured import within

from cyrnn.cli import csv_files

EXAMPLES = int(os.environ.get("CYRNN_FUZZ_EXAMPLES", "60"))
NUMBERS = ["0", "1", "-2.5", "3e4", "1e999", "nan", "inf", "1_0", "0x1", "\u0663"]
MARKS = [",", ",", "\n", "\n", ";", "\t", "\r\n", "\r", " ", '"', "#", "", "x", "\0", "\ufeff", "\U0001f600", "\udcff"]
PARTS = st.lists(st.sampled_from([*NUMBERS, *NUMBERS, *MARKS]), max_size=40)


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=PARTS, times=st.sampled_from([1, 1, 1, 1, 300]))
def test_tables_are_read_or_refused(tmp_path, parts, times):
    path = tmp_path / "x.csv"
    path.write_bytes(("".join(parts) * times).encode(errors="surrogateescape"))
    with within(5, 200 * path.stat().st_size + (1 << 20)):
        try:
            found = csv_files.read_csv(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and len(str(error)) < len(str(path)) + 300
        else:
            assert found.ndim == 2 and found.size and found.dtype == np.float64
            np.testing.assert_array_equal(found, csv_files._read_by_line(path))
