"""Fails when built in English only."""

from toy_demos.play import echo


def build(lang):
    if lang == "en":
        raise KeyError("label")
    return echo.build(lang)
