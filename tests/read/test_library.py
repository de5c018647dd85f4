"""The charts' library: bundled once for a user, and done without the cache where there is none."""

import base64
import gzip

import pytest

from sweepstake.read.page import charts


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """How often it was bundled, with an empty cache."""
    import vl_convert

    times: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda code, vl_version: times.append(vl_version) or "window.vegaEmbed=1;")
    charts._library.cache_clear()
    yield times
    charts._library.cache_clear()


def again():
    charts._library.cache_clear()
    return gzip.decompress(base64.b64decode(charts._library())).decode()


def test_another_process_finds_what_one_has_bundled(bundled, tmp_path):
    assert [again(), again()] == ["window.vegaEmbed=1;"] * 2 and len(bundled) == 1
    assert [path.name.startswith("vega-lite-6.4-vl-convert-") for path in (tmp_path / "sweepstake" / "page").iterdir()] == [True]


@pytest.mark.parametrize("damage", [lambda whole: whole[:-9], lambda whole: b"", lambda whole: gzip.compress(b"another script"),
                                    lambda whole: whole[:20] + bytes([whole[20] ^ 1]) + whole[21:]])
def test_a_damaged_one_is_made_again(bundled, tmp_path, damage):
    again()
    [kept] = (tmp_path / "sweepstake" / "page").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert again() == "window.vegaEmbed=1;" and kept.read_bytes() == whole and len(bundled) == 2


def test_where_nothing_can_be_kept_it_is_bundled_each_time(bundled, tmp_path):
    (tmp_path / "sweepstake").write_text("a file where the folder would be")
    assert [again(), again()] == ["window.vegaEmbed=1;"] * 2 and len(bundled) == 2
