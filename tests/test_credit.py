"""A demo says which model answered."""

from collections.abc import Iterator

import pytest

from demos import _credit, _host, _models, _ui


def once(lang: str) -> str:
    _models.bert()
    return "<p>one</p>"


def twice(lang: str) -> Iterator[str]:
    yield "<p>nobody yet</p>"
    _models.bert()
    yield "<p>one</p>"
    yield "<p>two</p>"


def lost(lang: str) -> str:
    _models.bert()
    raise ValueError("odd")


def test_the_shipped_model_is_named_under_the_answer() -> None:
    assert _ui.guarded(once, "zh")() == '<p>one</p><p class="lm-model">回答的模型：sentiment-bert-zh-en</p>'
    assert "lm-model" not in _ui.guarded(lambda lang: "<p>one</p>", "en")()
    assert "lm-model" not in _ui.guarded(lost, "en")()
    _credit.note("outside an answer nobody listens")


def test_each_step_of_a_stream_is_signed() -> None:
    signed = '<p class="lm-model">Answered by: sentiment-bert-zh-en</p>'
    assert list(_ui.guarded(twice, "en")()) == ["<p>nobody yet</p>", f"<p>one</p>{signed}", f"<p>two</p>{signed}"]


def test_a_setting_is_named_without_its_path(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("deep") / "my-bert"
    folder.mkdir()
    assert _host.model_name("bert", {"LARGEMODELS_BERT": str(folder)}) == "my-bert"
    assert _host.model_name("bert", {"LARGEMODELS_BERT": "minilm"}) == "minilm"
    assert _host.model_name("gpt-en", {"LARGEMODELS_GPT": "owner/model"}) == "owner/model"
    assert _host.model_name("gpt-en", {"LARGEMODELS_BERT": "minilm"}) == "shakespeare-gpt-en"


def test_a_model_without_classes_is_refused_where_it_should_classify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_models.bert(), "labels", ())
    _models.bert()
    with pytest.raises(_ui.InputError, match="must have a classification head, got sentiment-bert-zh-en"):
        _models.bert(classifies=True)
