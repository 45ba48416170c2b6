"""How good is it? Numbers for classifiers, language models and translations, and where they mislead."""
