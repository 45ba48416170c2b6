"""Builds, but its model cannot be loaded."""

from toy_demos.play import echo


def load():
    raise ValueError("model.safetensors does not match its manifest; download it again")


def predict(number, lang="en"):
    return ""


def build(lang):
    return echo.build(lang)
