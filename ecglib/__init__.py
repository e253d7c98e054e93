"""ecglib: the package behind a results book on ECG arrhythmia classification."""

__version__ = "0.1.0"
