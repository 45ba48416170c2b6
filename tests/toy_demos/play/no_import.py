"""Fails when imported."""

raise OSError("cannot read /srv/secret/folder/model.safetensors: cut short")
