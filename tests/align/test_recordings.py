"""Windows of one file are one recording, named or not."""

import pytest

from modalign import ManifestError, get_modality, read_manifest
from modalign.tasks.evaluation import unit_of_resampling
from tests.conftest import read_table

TOWERS = {name: get_modality(name) for name in ("text", "audio", "tone")}


@pytest.fixture
def windows(tmp_path):
    """A manifest of four windows of each of three files, and a file of one row; no cluster."""
    lines = ["id,split,group,cluster,label,audio,audio.start,audio.end"]
    for k, file in enumerate(("a/x.wav", "b/x.wav", "c.wav")):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
        lines += [f"{k}-{s},{'train' if k else 'test'},,,up,{file},{s},{s + 1}" for s in range(4)]
    (tmp_path / "d.wav").touch()
    lines.append("one,train,,,up,d.wav,,")
    path = tmp_path / "windows.csv"
    path.write_text("\n".join(lines))
    return path


def test_windows_without_cluster_are_of_their_file(windows):
    manifest = read_manifest(windows, TOWERS)
    assert [row.cluster for row in manifest.rows] == ["x.wav"] * 4 + ["x.wav #2"] * 4 + ["c.wav"] * 4 + [""]
    assert manifest.unnamed == manifest.split("test").unnamed == 12
    units, name = unit_of_resampling(manifest.rows)
    assert (len(set(units)), name) == (4, "recordings")


def test_a_file_in_two_splits_is_refused(windows):
    table = read_table(windows)
    table.loc[1, "split"] = "train"
    table.to_csv(windows, index=False)
    with pytest.raises(
        ManifestError, match=r"cluster 'x.wav' is in both test and train.*rows of one file are one recording"
    ):
        read_manifest(windows, TOWERS)


def test_a_cluster_that_some_windows_have_is_that_of_the_others(windows):
    table = read_table(windows)
    table.loc[0, "cluster"] = "monday"
    table.loc[12, "cluster"] = "c.wav"  # another recording has the name of a file
    table.to_csv(windows, index=False)
    clusters = [row.cluster for row in read_manifest(windows, TOWERS).rows]
    assert clusters == ["monday"] * 4 + ["x.wav"] * 4 + ["c.wav #2"] * 4 + ["c.wav"]


def test_channels_of_a_file_are_one_recording(windows):
    table = read_table(windows)
    table["audio.channel"] = ["0", "1", "0", "1"] * 3 + [""]
    table.to_csv(windows, index=False)
    assert [row.cluster for row in read_manifest(windows, TOWERS).rows[:4]] == ["x.wav"] * 4


def test_named_recordings_stay_as_they_are(manifest):
    assert manifest.unnamed == 0
    assert manifest.rows[0].cluster == "low-0"
