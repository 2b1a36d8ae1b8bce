"""The record of a run."""

from planeloc.core import files, provenance


def test_inputs_with_known_checksums_are_not_read_again(tmp_path, monkeypatch):
    (movie := tmp_path / "movie.tif").write_text("large")
    (scope := tmp_path / "scope.yaml").write_text("small")
    hashed = []
    monkeypatch.setattr(provenance, "sha256", lambda path: hashed.append(path) or "worked out")
    provenance.write_provenance(tmp_path / "p.json", "convert", {}, [movie, scope], [], known={str(movie): "known"})
    assert files.read_json(tmp_path / "p.json")["inputs"] == {str(movie): "known", str(scope): "worked out"}
    assert hashed == [scope]
