"""Which engine `auto` is, and how it is asked for another."""

import pytest

from cyrnn.engine.choice import choose_engine


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch):
    monkeypatch.delenv("CYRNN_ENGINE", raising=False)


@pytest.mark.parametrize(
    ("preferred", "units", "engine"),
    [(True, 4, "simd"), (True, 512, "simd"), (False, 8, "simd"), (False, 9, "blas"), (False, 512, "blas")],
)
def test_auto_is_blas_where_that_may_have_wider_vectors_and_units_are_many(preferred, units, engine):
    assert choose_engine(None, preferred, units) == choose_engine("auto", preferred, units) == engine


def test_an_argument_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("CYRNN_ENGINE", "blas")
    assert choose_engine(None, True, 4) == "blas"
    assert choose_engine("simd", True, 4) == "simd"
